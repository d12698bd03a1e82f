"""The lending policy: what the lender decides about deciding, as data.

A version holds all of it. Stored versions are read with these types: what they once allowed must
stay allowed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum, StrEnum
from typing import Annotated, Any, Final, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from loans.domain.credit_report import BEST_SCORE, WORST_SCORE, Code, CreditReport
from loans.domain.fields import Amount, LongText, Text, Words

OTHER: Final = "other"
"""The reason that the underwriter puts into words."""

MOST_REASONS: Final = 4
"""More do not help an applicant (12 CFR 1002.9(b)(2), official interpretation)."""

MOST_CODES: Final = 100
_MOST_DAYS: Final = 366


def _no_shorter_than_a_second(value: timedelta) -> timedelta:
    if not timedelta(seconds=1) <= value <= timedelta(days=_MOST_DAYS):
        raise PydanticCustomError("duration_range", "A time is from a second to 366 days.")
    return value


Duration = Annotated[timedelta, AfterValidator(_no_shorter_than_a_second), Field(strict=False)]
Days = Annotated[int, Field(ge=1, le=_MOST_DAYS)]


class _Part(BaseModel):
    """A part of a policy. Those of a newer version of the program may have more."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", hide_input_in_errors=True)


class Reason(_Part):
    """A reason for a denial, in words for the staff and for the applicant.

    One that is not `active` can no longer be given, and keeps its words for earlier decisions.
    """

    staff: Words
    applicant: Words
    active: bool = True


class Factor(_Part):
    """What the clearing house says has lowered a score, in words for the applicant."""

    applicant: Words
    active: bool = True


class Lender(_Part):
    """Who lends."""

    name: Words
    address: Words
    phone: Text = ""


class Supervisor(_Part):
    """Whom an applicant may turn to about the lender."""

    name: Words
    address: Words


class Bureau(_Part):
    """The clearing house that gives the scores, and the range of them in words."""

    name: Words
    address: Text = ""
    phone: Text = ""
    range: Text = f"{WORST_SCORE} to {BEST_SCORE}"


class Law(StrEnum):
    """Whose law the notices follow."""

    US = "us"
    EU = "eu"
    BOTH = "both"


class Policy(_Part):
    """A lending policy. The defaults are what held before there was any.

    A score up to `deny_up_to` is denied at once, and one from `approve_from` on approved at once,
    for amounts up to `automatic_up_to` (`None`: any). What cannot be explained to the applicant is
    denied at once only if `deny_unexplained`. Above `four_eyes_above` it takes two people to
    approve.

    An underwriter's claim holds for `lease`, and after it was handed over for `hand_over_lease`. A
    request is to be decided within `decide_within`; `undo_seconds` is how long a page waits before
    it sends a decision. The days and rounds after them, and the law, are for offers, questions,
    reviews and notices.
    """

    deny_up_to: Annotated[int, Field(ge=WORST_SCORE - 1, le=BEST_SCORE)] = 4
    approve_from: Annotated[int, Field(ge=WORST_SCORE, le=BEST_SCORE + 1)] = 7
    deny_unexplained: bool = True
    automatic_up_to: Amount | None = None
    four_eyes_above: Amount | None = None
    lease: Duration = timedelta(minutes=10)
    hand_over_lease: Duration = timedelta(hours=4)
    decide_within: Duration = timedelta(days=2)
    undo_seconds: Annotated[int, Field(ge=0, le=60)] = 0
    offer_days: Annotated[int, Field(ge=1, le=90)] = 30
    answer_days: Days = 14
    rounds_of_questions: Annotated[int, Field(ge=0, le=20)] = 3
    review_days: Days = 60
    law: Annotated[Law, Field(strict=False)] = Law.BOTH
    currency: Annotated[str, Field(pattern=r"^([A-Z]{3})?$")] = ""
    reasons: Annotated[Mapping[Code, Reason], Field(max_length=MOST_CODES)] = Field(
        default_factory=lambda: _REASONS
    )
    factors: Annotated[Mapping[Code, Factor], Field(max_length=MOST_CODES)] = Field(
        default_factory=dict
    )
    lender: Lender | None = None
    supervisor: Supervisor | None = None
    bureau: Bureau | None = None
    statement: LongText = ""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.deny_up_to >= self.approve_from:
            raise _wrong("`deny_up_to` must be below `approve_from`.")
        if both := ", ".join(sorted(self.reasons.keys() & self.factors.keys())):
            raise _wrong(f"A code is a reason or a factor, not both: {both}.")
        if self.four_eyes_above is not None and not self._leaves_to_people(self.four_eyes_above):
            raise _wrong(
                "`automatic_up_to` must be set, and at most `four_eyes_above`: otherwise nobody "
                "would look at what two people should."
            )
        return self

    def _leaves_to_people(self, limit: int) -> bool:
        return self.automatic_up_to is not None and self.automatic_up_to <= limit

    @property
    def codes(self) -> frozenset[str]:
        """The codes of all reasons and factors."""
        return frozenset(self.reasons) | frozenset(self.factors)

    def needed_for_approval(self, amount: int) -> int:
        """How many people it takes to approve this amount."""
        return 2 if self.four_eyes_above is not None and amount > self.four_eyes_above else 1

    def explaining(self, factors: tuple[str, ...]) -> tuple[str, ...]:
        """The factors that can be told to an applicant, as many as help."""
        told = [code for code in factors if code in self.factors and self.factors[code].active]
        return tuple(dict.fromkeys(told))[:MOST_REASONS]

    def to_applicant(self, code: str, *, text: str = "") -> str:
        """A reason or factor in words for the applicant; `text` is what was said instead of OTHER.

        A code that the policy does not know is put in general words.
        """
        if code == OTHER and text:
            return text
        known = self.reasons.get(code) or self.factors.get(code)
        return known.applicant if known else _UNKNOWN

    def to_staff(self, code: str) -> str:
        """A reason or factor in words for the staff; a code that is unknown as it is."""
        if code in self.reasons:
            return self.reasons[code].staff
        return self.factors[code].applicant if code in self.factors else code


class Assessment(Enum):
    """What follows from a credit report and the policy, before anyone has looked."""

    APPROVE = "approve"
    DENY = "deny"
    REVIEW = "review"


def assess(report: CreditReport, amount: int, policy: Policy) -> Assessment:
    """What the policy makes of a report and an amount, without a person."""
    if report.score <= policy.deny_up_to:
        is_explained = policy.deny_unexplained or policy.explaining(report.factors)
        return Assessment.DENY if is_explained else Assessment.REVIEW
    if report.score < policy.approve_from:
        return Assessment.REVIEW
    is_within = policy.automatic_up_to is None or amount <= policy.automatic_up_to
    return Assessment.APPROVE if is_within else Assessment.REVIEW


@dataclass(frozen=True, slots=True)
class PolicyInForce:
    """The policy by which something is decided, and the number of its version."""

    version: int
    policy: Policy


def _wrong(message: str) -> PydanticCustomError:
    values: dict[str, Any] = {"message": message}
    return PydanticCustomError("policy", "{message}", values)


_UNKNOWN: Final = "Please contact us to hear why."

_REASONS: Final[Mapping[str, Reason]] = {
    "income_too_low": Reason(
        staff="Income too low", applicant="Your income is too low for this amount."
    ),
    "too_much_debt": Reason(staff="Too much debt", applicant="You owe too much already."),
    "unverified_identity": Reason(
        staff="Identity could not be verified", applicant="We could not make sure who you are."
    ),
    "incomplete_details": Reason(
        staff="Details incomplete", applicant="Your details are not complete."
    ),
    OTHER: Reason(staff="Another reason", applicant=_UNKNOWN),
}

VERSION_0: Final = PolicyInForce(0, Policy())
"""What decides until a version is in force, and what events without a version were decided by."""
