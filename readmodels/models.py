"""The tables that pages read, one per screen, and their named queries.

Only projections write these rows, which can be rebuilt from the events. The other tables say how
far each projection has come, what stopped it, and which events it skips.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple, Self
from uuid import UUID

from django.db import models
from django.db.models import Q


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


class Progress(models.Model):
    """How far a table has come: the commit position of the last event that was applied to it.

    `recorded_at` is when the store recorded that event. `events` counts the events applied since
    the table was empty, and `events_per_second` is how fast they were at `moved_at`.
    By the event's id, stream and revision it is found out whether the store still has it. They are
    about the event at `event_position`: an older version of the program moves `position` alone.
    `left_out` lists what the rows lack since an older version of the program built them that could
    not read it: pairs of an event's type and schema version.
    """

    name = models.CharField(max_length=100, primary_key=True)
    version = models.PositiveIntegerField(default=1)
    position = models.BigIntegerField(default=0)
    recorded_at = models.DateTimeField(null=True)
    moved_at = models.DateTimeField(auto_now=True)
    events = models.BigIntegerField(default=0)
    events_per_second = models.FloatField(default=0)
    event_position = models.BigIntegerField(null=True)
    event_id = models.UUIDField("event ID", null=True)
    event_stream = models.TextField(default="", db_default="")
    event_revision = models.BigIntegerField(null=True)
    # Null: nothing. Written by `rebuild --older-version` only.
    left_out = models.JSONField(null=True)

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"{self.name} at {self.position}"


class Checkpoint(Progress):
    """How far a projection's live table has come, and the version that built it.

    `builds` is the number of its last rebuild. `store_replaced` says that a projector has found
    another event store than the one that the rows come from.
    """

    builds = models.PositiveIntegerField(default=0)
    store_replaced = models.BooleanField(default=False, db_default=False)


class Rebuild(Progress):
    """A table that is being built anew beside the live one, to take its place.

    `build` is its number, which is part of the table's name.
    """

    build = models.PositiveIntegerField()
    began_at = models.DateTimeField(auto_now_add=True)


class Failure(models.Model):
    """Why a projection or its rebuild stands still: an event that it cannot handle.

    It stays until an operator retries or skips the event, or until a version of the program that is
    not in `tried_by` gets past it. `error` names the kind of error and its place in the code, and
    never quotes its message. `schema_version` is set if the event is only for a newer version of
    the program to read: then nothing is wrong, and the projection waits for that version.
    """

    name = models.CharField(max_length=100)
    in_rebuild = models.BooleanField(default=False)
    position = models.BigIntegerField()
    event_id = models.UUIDField("event ID")
    event_type = models.CharField(max_length=200)
    stream_name = models.TextField()
    error = models.TextField()
    attempts = models.PositiveIntegerField()
    failed_at = models.DateTimeField()
    # Null where a version of the program has recorded it that did not know these two.
    schema_version = models.PositiveIntegerField(null=True)
    tried_by = models.JSONField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["name", "in_rebuild"], name="one_failure_each")
        ]

    def __str__(self) -> str:
        return f"{self.name} at {self.position}"

    @property
    def is_newer(self) -> bool:
        """Whether it only waits for a newer version of the program."""
        return self.schema_version is not None


class SkippedEvent(models.Model):
    """An event that a projection skips for good, in rebuilds too; who decided that, and why."""

    name = models.CharField(max_length=100)
    position = models.BigIntegerField()
    event_id = models.UUIDField("event ID")
    event_type = models.CharField(max_length=200)
    error = models.TextField()
    why = models.TextField()
    skipped_by = models.CharField(max_length=150)
    skipped_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["name", "position"], name="skipped_once_each")
        ]

    def __str__(self) -> str:
        return f"{self.name} without {self.position}"


def _revision() -> models.BigIntegerField[int, int]:
    # A default in the database too, for a projector of an older version that still runs.
    return models.BigIntegerField(default=0, db_default=0)


class OfOneRequest(models.Model):
    """A row about one loan request.

    `revision` is that of the request's last event, with which a decision is compared.
    `readmodels/projector/batches.py` updates it for every event of the request, also for those that
    the projection ignores.
    """

    id = models.UUIDField(primary_key=True)
    # Each model declares it after its older columns, where its migration adds it.
    revision: models.BigIntegerField[int, int]

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return str(self.id)


def _gone_at() -> models.DateTimeField[Any, Any]:
    """When it was found that an operator has deleted or truncated the request's stream."""
    return models.DateTimeField("record gone since", null=True)


class Place(NamedTuple):
    """What the underwriters' queue is sorted by."""

    requested_at: datetime
    id: UUID


class PendingRequestQuerySet(models.QuerySet["PendingRequest"]):
    def waiting(self) -> Self:
        """Those that can be decided."""
        return self.filter(gone_at=None)

    def oldest_first(self) -> Self:
        return self.order_by("requested_at", "id")

    def behind(self, place: Place | None) -> Self:
        """The requests after a place in the queue; all of them if it is `None`."""
        if place is None:
            return self
        same_moment = Q(requested_at=place.requested_at, id__gt=place.id)
        return self.filter(Q(requested_at__gt=place.requested_at) | same_moment)


class PendingRequest(OfOneRequest):
    """A request that waits for an underwriter. It is deleted when someone decides on it."""

    name = models.CharField(max_length=200)
    national_id = models.CharField("national ID", max_length=8)
    amount = models.BigIntegerField()
    credit_score = models.PositiveSmallIntegerField()
    requested_at = models.DateTimeField()
    revision = _revision()
    gone_at = _gone_at()

    objects = PendingRequestQuerySet.as_manager()

    class Meta:
        indexes = [models.Index(fields=["requested_at", "id"], name="pending_oldest_first")]


class LoanStatusQuerySet(models.QuerySet["LoanStatus"]):
    def of(self, loan_request_id: UUID) -> LoanStatus | None:
        """The row of a request, or `None` if the read model does not have it (yet)."""
        return self.filter(id=loan_request_id).first()


class LoanStatus(OfOneRequest):
    """What an applicant may see: no national ID, no name, not who decided.

    `delayed_at` is when the credit check was parked for an operator.
    """

    status = models.CharField(max_length=20, choices=Status)
    amount = models.BigIntegerField()
    denial_reason = models.CharField(max_length=50, blank=True, choices=DenialReason)
    received_at = models.DateTimeField()
    decided_at = models.DateTimeField(null=True)
    delayed_at = models.DateTimeField(null=True)
    checked_at = models.DateTimeField(null=True)
    passed_on_at = models.DateTimeField("passed to an underwriter at", null=True)
    revision = _revision()
    gone_at = _gone_at()

    objects = LoanStatusQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "loan statuses"


class LoanRequest(OfOneRequest):
    """A loan request as the back office sees it: everything.

    `parked_because` is why its credit check is parked; empty if it is not.
    """

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
    parked_because = models.TextField(
        "credit check parked because", blank=True, default="", db_default=""
    )
    revision = _revision()
    gone_at = _gone_at()

    class Meta:
        indexes = [
            models.Index(fields=["decided_at"], name="loan_request_decided_at"),
            models.Index(fields=["decided_by"], name="loan_request_decided_by"),
        ]


class ParkedCreditCheck(models.Model):
    """A request whose credit check has failed too often and waits for an operator."""

    id = models.UUIDField(primary_key=True)
    reason = models.TextField()
    attempts = models.PositiveIntegerField()
    parked_at = models.DateTimeField()

    def __str__(self) -> str:
        return str(self.id)


class SearchWord(models.Model):
    """A word by which a loan request is found: one of the applicant's name, or the national ID.

    `word` is folded (`readmodels/projections/search_words.py`). Requests are looked for by the
    beginnings of words.
    """

    request_id = models.UUIDField()
    word = models.CharField(max_length=50)
    # After its columns: `SearchWord(pk=…)` sets the fields in this order.
    pk = models.CompositePrimaryKey("request_id", "word")

    class Meta:
        indexes = [
            # The classes are PostgreSQL's, whose LIKE otherwise uses no index.
            models.Index(
                fields=["word", "request_id"],
                name="search_word",
                opclasses=["varchar_pattern_ops", "uuid_ops"],
            )
        ]

    def __str__(self) -> str:
        return f"{self.word} of {self.request_id}"
