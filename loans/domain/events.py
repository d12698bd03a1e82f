"""The events: what has happened, in the past tense.

The names of the classes and of their fields are the storage format, which
`tests/unit/loans/adapters/test_codec.py` pins. A change of their meaning needs a new
`SCHEMA_VERSION` and an upcaster in `loans/adapters/codec.py`.

`repr` leaves out personal data, so that an event in a log or a stack trace does not identify the
applicant.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field


class DenialReason(StrEnum):
    """The codes that an underwriter can give for a denial. Stored in events: never rename one."""

    INCOME_TOO_LOW = "income_too_low"
    TOO_MUCH_DEBT = "too_much_debt"
    UNVERIFIED_IDENTITY = "unverified_identity"
    INCOMPLETE_DETAILS = "incomplete_details"
    OTHER = "other"


class Event(BaseModel):
    """Something that has happened to the loan request `id`.

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
    """The credit bureau scored the applicant, 1 (worst) to 10 (best)."""

    credit_score: int


class CreditCheckParked(Event):
    """The credit bureau gave no usable score in `attempts` attempts: an operator must look into it.

    `reason` is for the operator, and has no personal data.
    """

    reason: str
    attempts: int


class AutoApproved(Event):
    """The request was approved for its score alone."""


class AutoDenied(Event):
    """The request was denied for its score alone."""


class ManualReviewRequired(Event):
    """An underwriter must decide. Holds everything that the underwriter is shown."""

    name: str = Field(repr=False)
    national_id: str = Field(repr=False)
    amount: int
    credit_score: int


class ManuallyApproved(Event):
    """An underwriter approved. `decided_by` is the username."""

    decided_by: str
    note: str = Field(default="", repr=False)


class ManuallyDenied(Event):
    """An underwriter denied. `reason` is a `DenialReason` code, or one of a newer version."""

    decided_by: str
    reason: str
    note: str = Field(default="", repr=False)


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
    | ManuallyApproved
    | ManuallyDenied
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
