"""The events: what has happened, in the past tense.

The names of the classes and of their fields are the storage format, which
`tests/unit/loans/adapters/test_codec.py` pins. A change of their meaning needs a new
`SCHEMA_VERSION` and an upcaster in `loans/adapters/codec.py`.

`repr` leaves out personal data, so that an event in a log or a stack trace does not identify the
applicant.
"""

from __future__ import annotations

from typing import ClassVar
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from loans.domain.policy import Policy


class Event(BaseModel):
    """Something that has happened to the loan request, or the policy, `id`.

    Readers ignore unknown fields, so that a newer version may add some.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    SCHEMA_VERSION: ClassVar[int] = 1

    id: UUID
    occurred_at: AwareDatetime


class LoanRequested(Event):
    """Someone applied for a loan. `amount` is in whole units of the currency."""

    name: str = Field(repr=False)
    national_id: str = Field(repr=False)
    amount: int
    address: str = Field(default="", repr=False)


class CreditChecked(Event):
    """The credit bureau scored the applicant, 1 (worst) to 10 (best).

    `factors` are the codes of what lowered the score; `agency` is the bureau's name, where the
    policy has one.
    """

    SCHEMA_VERSION: ClassVar[int] = 2

    credit_score: int
    factors: tuple[str, ...] = ()
    scored_at: AwareDatetime | None = None
    agency: str = ""


class CreditCheckParked(Event):
    """The credit bureau gave no usable score in `attempts` attempts: an operator must look into it.

    `reason` is for the operator, and has no personal data.
    """

    reason: str
    attempts: int


class AutoApproved(Event):
    """The request was approved for its score alone, under the version `policy` of the policy."""

    SCHEMA_VERSION: ClassVar[int] = 2

    policy: int = 0


class AutoDenied(Event):
    """The request was denied for its score alone. `reasons` are factors that the policy knows."""

    SCHEMA_VERSION: ClassVar[int] = 2

    reasons: tuple[str, ...] = ()
    policy: int = 0


class ManualReviewRequired(Event):
    """An underwriter must decide. Holds everything that the underwriter is shown.

    `requested_at` is when the applicant applied.
    """

    SCHEMA_VERSION: ClassVar[int] = 2

    name: str = Field(repr=False)
    national_id: str = Field(repr=False)
    amount: int
    credit_score: int
    factors: tuple[str, ...] = ()
    requested_at: AwareDatetime
    policy: int = 0


class ApprovalProposed(Event):
    """An underwriter is for an approval that takes another one's. `by` is the username."""

    by: str
    note: str = Field(default="", repr=False)
    policy: int


class DenialProposed(Event):
    """An underwriter is against what another one is for. `by` is the username."""

    by: str
    reasons: tuple[str, ...]
    reason_text: str = Field(default="", repr=False)
    note: str = Field(default="", repr=False)
    policy: int


class ManuallyApproved(Event):
    """An underwriter approved, together with those who were for it before. They are usernames."""

    SCHEMA_VERSION: ClassVar[int] = 2

    decided_by: str
    note: str = Field(default="", repr=False)
    together_with: tuple[str, ...] = ()
    policy: int = 0


class ManuallyDenied(Event):
    """An underwriter denied, together with those who were against it before.

    `reasons` are codes of the policy; `reason_text` says to the applicant what `other` means.
    """

    SCHEMA_VERSION: ClassVar[int] = 2

    decided_by: str
    reasons: tuple[str, ...]
    reason_text: str = Field(default="", repr=False)
    note: str = Field(default="", repr=False)
    together_with: tuple[str, ...] = ()
    policy: int = 0


class NoteAdded(Event):
    """An underwriter noted something, for the staff. `by` is the username."""

    by: str
    text: str = Field(repr=False)


class RequestClaimed(Event):
    """An underwriter works on the request, alone until `until`. `by` is the username."""

    by: str
    until: AwareDatetime


class ClaimExtended(Event):
    """The underwriter who holds the request goes on with it until `until`."""

    by: str
    until: AwareDatetime


class RequestReleased(Event):
    """The underwriter who held the request has let go of it."""

    by: str


class RequestHandedOver(Event):
    """The request is for the underwriter `to` alone until `until`. `by` gave it, a username."""

    by: str
    to: str
    until: AwareDatetime
    why: str = Field(default="", repr=False)


class RequestEscalated(Event):
    """An underwriter asked for a lead, who alone may decide now. `by` is the username."""

    by: str
    why: str = Field(repr=False)


class ApplicationLapsed(Event):
    """An application was not recorded in time, and has lost its applicant's reservation.

    A process that was about to record it finds that the stream has a new revision. `LoanRequested`
    may still follow, under a new reservation.
    """


LoanEvent = (
    LoanRequested
    | CreditChecked
    | CreditCheckParked
    | AutoApproved
    | AutoDenied
    | ManualReviewRequired
    | ApprovalProposed
    | DenialProposed
    | ManuallyApproved
    | ManuallyDenied
    | NoteAdded
    | RequestClaimed
    | ClaimExtended
    | RequestReleased
    | RequestHandedOver
    | RequestEscalated
    | ApplicationLapsed
)


class ReservationTaken(Event):
    """The request `id` holds its applicant's reservation.

    It may be recorded on the revision `covers` of its stream only; `None`: as a new stream.
    """

    covers: int | None


class ReservationReleased(Event):
    """The request `id` no longer holds its applicant's reservation."""


ReservationEvent = ReservationTaken | ReservationReleased


class LoanRequestGone(Event):
    """The stream of the request `id` is no longer whole: an operator deleted or truncated it.

    It is recorded in a stream of its own, since nothing can be appended to a deleted one.
    """


class LoanRequestBack(Event):
    """The stream of the request `id`, which was gone, is whole again."""


LossEvent = LoanRequestGone | LoanRequestBack


class PolicyProposed(Event):
    """A version of the lending policy was proposed, to be in force from `effective_at` on."""

    version: int
    by: str
    why: str
    effective_at: AwareDatetime
    policy: Policy


class PolicyConfirmed(Event):
    """Somebody else has confirmed a version of the lending policy."""

    version: int
    by: str


class PolicyWithdrawn(Event):
    """A version of the lending policy was withdrawn before it was in force."""

    version: int
    by: str


PolicyEvent = PolicyProposed | PolicyConfirmed | PolicyWithdrawn
