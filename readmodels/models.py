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


class Awaiting(models.TextChoices):
    """Whose opinion it takes to decide a request of which somebody has said something."""

    SECOND = "second opinion", "Second opinion"
    THIRD = "third opinion", "Third opinion"


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


# The defaults below are in the database too, for a projector of an older version that still runs.


def _list() -> models.JSONField[Any, Any]:
    return models.JSONField(blank=True, default=list, db_default=[])


def _text() -> models.TextField[str, str]:
    return models.TextField(blank=True, default="", db_default="")


def _policy() -> models.PositiveIntegerField[int, int]:
    """The version of the lending policy that sent a request to people, or that decided it."""
    return models.PositiveIntegerField("policy version", default=0, db_default=0)


def _username() -> models.CharField[str, str]:
    return models.CharField(max_length=150, blank=True, default="", db_default="")


def _first_reason() -> models.CharField[str, str]:
    """The first of the reasons, for versions of the program that know only one."""
    return models.CharField(max_length=50, blank=True)


class Place(NamedTuple):
    """What the underwriters' queue is sorted by."""

    requested_at: datetime
    id: UUID


class PendingRequestQuerySet(models.QuerySet["PendingRequest"]):
    def waiting(self) -> Self:
        """Those that can be decided."""
        return self.filter(gone_at=None)

    def unclaimed(self, at: datetime) -> Self:
        """Those that nobody works on at a moment."""
        return self.exclude(claimed_until__gt=at)

    def held_by(self, username: str, at: datetime) -> Self:
        """Those that somebody works on at a moment."""
        return self.filter(claimed_by=username, claimed_until__gt=at)

    def complete_by(self, moment: datetime) -> Self:
        return self.filter(requested_at__lte=moment)

    def above(self, limit: int | None) -> Self:
        """Those for more than a limit; none without one."""
        return self.none() if limit is None else self.filter(amount__gt=limit)

    def with_opinions(self) -> Self:
        """Those of which an underwriter has said something, and which wait for another."""
        return self.exclude(votes=[])

    def for_amounts(self, least: int | None, most: int | None) -> Self:
        """Those for an amount between two, which are included; `None`: no end."""
        ends = {"amount__gte": least, "amount__lte": most}
        return self.filter(**{end: amount for end, amount in ends.items() if amount is not None})

    def oldest_first(self) -> Self:
        return self.order_by("requested_at", "id")

    def behind(self, place: Place | None) -> Self:
        """The requests after a place in the queue; all of them if it is `None`."""
        if place is None:
            return self
        same_moment = Q(requested_at=place.requested_at, id__gt=place.id)
        return self.filter(Q(requested_at__gt=place.requested_at) | same_moment)


class PendingRequest(OfOneRequest):
    """A request that waits for an underwriter. It is deleted when someone decides on it.

    `requested_at` is when it was passed on to underwriters, and `applied_at` when its applicant
    applied. `votes` has the newest one of each underwriter, in the order in which they came; what
    each of them has, `Vote` in `readmodels/projections/votes.py` says. `notes` is how many there
    are. `claimed_by` works on it alone until `claimed_until`, and not any longer: nothing changes
    the row then. `escalated_by` left it to the leads.
    """

    name = models.CharField(max_length=200)
    national_id = models.CharField("national ID", max_length=8)
    amount = models.BigIntegerField()
    credit_score = models.PositiveSmallIntegerField()
    requested_at = models.DateTimeField()
    revision = _revision()
    gone_at = _gone_at()
    applied_at = models.DateTimeField(null=True)
    factors = _list()
    policy = _policy()
    votes = _list()
    notes = models.PositiveSmallIntegerField(default=0, db_default=0)
    claimed_by = _username()
    claimed_until = models.DateTimeField(null=True)
    escalated_by = _username()
    escalated_because = _text()

    objects = PendingRequestQuerySet.as_manager()

    class Meta:
        indexes = [models.Index(fields=["requested_at", "id"], name="pending_oldest_first")]


class LoanStatusQuerySet(models.QuerySet["LoanStatus"]):
    def of(self, loan_request_id: UUID) -> LoanStatus | None:
        """The row of a request, or `None` if the read model does not have it (yet)."""
        return self.filter(id=loan_request_id).first()


class LoanStatus(OfOneRequest):
    """What an applicant may see: no national ID, no name, not who decided.

    `delayed_at` is when the credit check was parked for an operator. `people` is how many decided:
    none if the rules alone did.
    """

    status = models.CharField(max_length=20, choices=Status)
    amount = models.BigIntegerField()
    denial_reason = _first_reason()
    received_at = models.DateTimeField()
    decided_at = models.DateTimeField(null=True)
    delayed_at = models.DateTimeField(null=True)
    checked_at = models.DateTimeField(null=True)
    passed_on_at = models.DateTimeField("passed to an underwriter at", null=True)
    revision = _revision()
    gone_at = _gone_at()
    credit_score = models.PositiveSmallIntegerField(null=True)
    policy = _policy()
    people = models.PositiveSmallIntegerField(default=0, db_default=0)
    reasons = _list()
    reason_text = _text()
    awaiting = models.CharField(
        max_length=20, blank=True, choices=Awaiting, default="", db_default=""
    )

    objects = LoanStatusQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "loan statuses"


class LoanRequestQuerySet(models.QuerySet["LoanRequest"]):
    def of(self, loan_request_id: UUID) -> LoanRequest | None:
        """The row of a request, or `None` if the read model does not have it (yet)."""
        return self.filter(id=loan_request_id).first()

    def decisions_of_people(self, since: datetime) -> models.QuerySet[LoanRequest, tuple[str, int]]:
        """Each underwriter with how many they have decided since a moment."""
        decided = self.filter(decided_at__gte=since).exclude(decided_by="")
        return decided.values_list("decided_by").annotate(models.Count("pk")).order_by()

    def before(self, loan: LoanRequest) -> Self:
        """The earlier requests of the same person, the newest first."""
        same_person = self.filter(national_id=loan.national_id).exclude(id=loan.id)
        return same_person.filter(requested_at__lte=loan.requested_at).order_by("-requested_at")


class LoanRequest(OfOneRequest):
    """A loan request as the back office and underwriters see it: everything.

    `parked_because` is why its credit check is parked; empty if it is not. `decided_by` is who
    decided last, `together_with` those who had said the same before, and `disagreement` whether
    underwriters had different opinions. `scored_at` is when the clearing house `agency` made the
    score. `passed_on_at` is when the policy's version `review_policy` left the request to people.
    `votes` are as those of a `PendingRequest`, and `notes` what underwriters have noted, oldest
    first: what each of them has, `Note` in `readmodels/projections/notes.py` says. Claims are as
    those of a `PendingRequest`.
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
    denial_reason = _first_reason()
    note = models.TextField(blank=True)
    parked_because = models.TextField(
        "credit check parked because", blank=True, default="", db_default=""
    )
    revision = _revision()
    gone_at = _gone_at()
    factors = _list()
    policy = _policy()
    reasons = _list()
    reason_text = _text()
    together_with = _list()
    disagreement = models.BooleanField(default=False, db_default=False)
    scored_at = models.DateTimeField(null=True)
    agency = _text()
    passed_on_at = models.DateTimeField("passed to an underwriter at", null=True)
    review_policy = models.PositiveIntegerField("policy version that passed it on", null=True)
    votes = _list()
    notes = _list()
    claimed_by = _username()
    claimed_until = models.DateTimeField(null=True)
    escalated_by = _username()
    escalated_because = _text()

    objects = LoanRequestQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["decided_at"], name="loan_request_decided_at"),
            models.Index(fields=["decided_by"], name="loan_request_decided_by"),
        ]

    @property
    def deciders(self) -> list[str]:
        """Who decided, as usernames; nobody where the rules alone did."""
        return [*self.together_with, self.decided_by] if self.decided_by else []

    @property
    def people(self) -> int:
        """How many decided."""
        return len(self.deciders)


class ParkedCreditCheck(models.Model):
    """A request whose credit check has failed too often and waits for an operator."""

    id = models.UUIDField(primary_key=True)
    reason = models.TextField()
    attempts = models.PositiveIntegerField()
    parked_at = models.DateTimeField()

    def __str__(self) -> str:
        return str(self.id)


class LendingPolicyQuerySet(models.QuerySet["LendingPolicy"]):
    def in_force(self, at: datetime) -> int:
        """The version that is in force at a moment; 0 if none is."""
        confirmed = self.filter(confirmed_at__lte=at, withdrawn_at=None)
        version = confirmed.filter(effective_at__lte=at).aggregate(models.Max("version"))
        return version["version__max"] or 0


class LendingPolicy(models.Model):
    """A version of the lending policy, which reasons and explanations are put in the words of."""

    version = models.PositiveIntegerField(primary_key=True)
    policy = models.JSONField()
    proposed_by = models.CharField(max_length=150)
    proposed_at = models.DateTimeField()
    why = models.TextField()
    effective_at = models.DateTimeField()
    confirmed_by = models.CharField(max_length=150, blank=True)
    confirmed_at = models.DateTimeField(null=True)
    withdrawn_by = models.CharField(max_length=150, blank=True)
    withdrawn_at = models.DateTimeField(null=True)

    objects = LendingPolicyQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "lending policies"

    def __str__(self) -> str:
        return f"version {self.version}"


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
