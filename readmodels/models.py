"""The tables that pages read, one per screen, and the queries that pages ask, by name.

Only projections write here. Every table but `Checkpoint` can be emptied and built again from the
events.
"""

from __future__ import annotations

from typing import Self
from uuid import UUID

from django.db import models


class Status(models.TextChoices):
    """Where a request stands, in the words that people see."""

    RECEIVED = "received", "Received"
    UNDER_REVIEW = "under_review", "Under review"
    APPROVED = "approved", "Approved"
    DENIED = "denied", "Denied"


class DenialReason(models.TextChoices):
    """An underwriter's reason, in words for the applicant. Other codes may come with time."""

    INCOME_TOO_LOW = "income_too_low", "Your income is too low for this amount."
    TOO_MUCH_DEBT = "too_much_debt", "You owe too much already."
    UNVERIFIED_IDENTITY = "unverified_identity", "We could not make sure who you are."
    INCOMPLETE_DETAILS = "incomplete_details", "Your details are not complete."
    OTHER = "other", "Please contact us to hear why."


class Checkpoint(models.Model):
    """How far a projection has come: the commit position of the last event it was given.

    `recorded_at` is when the store recorded that event.
    """

    name = models.CharField(max_length=100, primary_key=True)
    position = models.BigIntegerField(default=0)
    recorded_at = models.DateTimeField(null=True)
    moved_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return f"{self.name} at {self.position}"


class PendingRequestQuerySet(models.QuerySet["PendingRequest"]):
    def oldest_first(self) -> Self:
        return self.order_by("requested_at", "id")


class PendingRequest(models.Model):
    """A request that waits for an underwriter. It leaves the table when anyone decides."""

    id = models.UUIDField(primary_key=True)
    name = models.CharField(max_length=200)
    national_id = models.CharField("national ID", max_length=8)
    amount = models.BigIntegerField()
    credit_score = models.PositiveSmallIntegerField()
    requested_at = models.DateTimeField()

    objects = PendingRequestQuerySet.as_manager()

    class Meta:
        indexes = [models.Index(fields=["requested_at", "id"], name="pending_oldest_first")]

    def __str__(self) -> str:
        return str(self.id)


class LoanStatusQuerySet(models.QuerySet["LoanStatus"]):
    def of(self, loan_request_id: UUID) -> LoanStatus | None:
        """How a request stands, or `None` where the read model does not know it (yet)."""
        return self.filter(id=loan_request_id).first()


class LoanStatus(models.Model):
    """What an applicant may see: no national ID, no name, nothing of who decided."""

    id = models.UUIDField(primary_key=True)
    status = models.CharField(max_length=20, choices=Status)
    amount = models.BigIntegerField()
    denial_reason = models.CharField(max_length=50, blank=True, choices=DenialReason)
    received_at = models.DateTimeField()
    decided_at = models.DateTimeField(null=True)

    objects = LoanStatusQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "loan statuses"

    def __str__(self) -> str:
        return str(self.id)


class LoanRequest(models.Model):
    """A loan request as the back office sees it: everything."""

    id = models.UUIDField(primary_key=True)
    status = models.CharField(max_length=20, choices=Status, db_index=True)
    name = models.CharField(max_length=200, db_index=True)
    national_id = models.CharField("national ID", max_length=8, db_index=True)
    amount = models.BigIntegerField()
    address = models.TextField(blank=True)
    credit_score = models.PositiveSmallIntegerField(null=True)
    requested_at = models.DateTimeField(db_index=True)
    decided_at = models.DateTimeField(null=True)
    decided_by = models.CharField(max_length=150, blank=True)
    denial_reason = models.CharField(max_length=50, blank=True, choices=DenialReason)
    note = models.TextField(blank=True)

    def __str__(self) -> str:
        return str(self.id)
