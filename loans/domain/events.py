"""What has happened: facts, in the past tense, that can always be processed.

A class's name and its fields are storage format. `tests/unit/loans/adapters/test_codec.py` pins
each of them; a change of meaning takes a new `SCHEMA_VERSION` and an upcaster in
`loans/adapters/codec.py`.

Personal data is left out of `repr`, so that an event that ends up in a log or a stack trace tells
nobody who the applicant is.
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
    """A fact about one loan request.

    Readers ignore fields that they do not know, so that a newer version may write more.
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
    """The credit bureau gave no usable score, `attempts` times: someone must look into it.

    `reason` is for the operator, and tells nothing of the applicant.
    """

    reason: str
    attempts: int


class AutoApproved(Event):
    """The score alone was good enough."""


class AutoDenied(Event):
    """The score alone was too low."""


class ManualReviewRequired(Event):
    """The score decides nothing: an underwriter must. Carries all that the underwriter is shown."""

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
    """An application was never recorded, and its hold on the applicant's reservation has ended.

    Whoever was about to record it finds that the stream has moved on. `LoanRequested` may still
    come after it, under a new reservation.
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
    """A request, `id`, holds its applicant's reservation.

    It may be recorded on the revision `covers` of its stream; `None`: as a new stream.
    """

    covers: int | None


class ReservationReleased(Event):
    """A request, `id`, no longer holds its applicant's reservation."""


ReservationEvent = ReservationTaken | ReservationReleased
