"""The request and response bodies of the JSON API's commands."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)
from pydantic_core import PydanticCustomError

from lepret.api.bodies import StrictBody
from lepret.api.openapi import (
    AWAITING,
    CLAIMED_BY,
    CLAIMED_UNTIL,
    CURRENCY,
    EXAMPLE_STATUS,
    EXPLANATION,
    REASONS,
    InWords,
)
from loans.domain.credit_report import Code
from loans.domain.fields import Amount, Name, NationalId, Text, Username, Words
from loans.domain.loan_request import Awaited, Status
from loans.domain.policy import OTHER
from loans.domain.reasons import Reasons, ReasonText

# No answer is about a request that does not exist.
_STATUSES: Final = [each.value for each in Status if each is not Status.NOT_REQUESTED]


class LoanApplication(StrictBody):
    """What an applicant sends: the fields of `RequestLoan` that are theirs to fill in."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "Ann Example",
                    "national_id": "666666aa",
                    "amount": 5000,
                    "address": "1 High Street",
                }
            ]
        },
    )

    name: Name
    national_id: NationalId
    amount: Amount
    address: Text = ""
    id: Annotated[UUID, Field(strict=False)] | None = None


class Approval(StrictBody):
    """What an underwriter says who approves."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"note": "A customer for ten years."}]}
    )

    note: Text = ""


class NewNote(StrictBody):
    """What an underwriter notes. The applicant is not shown it, but may ask for their data."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"text": "Called, no answer."}]})

    text: Words


class NoFields(StrictBody):
    """Nothing: the address says it all. The body may be left out, too."""

    model_config = ConfigDict(json_schema_extra={"examples": [{}]})


class NewHolder(StrictBody):
    """To whom an underwriter gives a request, and why."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"to": "ursula", "why": "She knows the applicant."}]}
    )

    to: Annotated[Username, Field(description="The username of an active underwriter.")]
    why: Annotated[
        Text, Field(description="Needed from leads who give away what somebody else works on.")
    ] = ""


class Escalation(StrictBody):
    """Why an underwriter leaves a request to the leads."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"why": "The papers look odd."}]})

    why: Words


class Denial(StrictBody):
    """What an underwriter says who denies. The applicant is told the reasons, not the note."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "reasons": ["too_much_debt", "other"],
                    "reason_text": "You have moved three times this year.",
                    "note": "Three loans run.",
                }
            ],
            "oneOf": [{"required": ["reasons"]}, {"required": ["reason"]}],
        },
    )

    reason: Annotated[
        Code | None, Field(deprecated=True, description="`reasons`, where there is one.")
    ] = None
    reasons: Annotated[
        Reasons,
        Field(
            default_factory=tuple,
            validate_default=True,
            description="Codes of reasons that are active in the policy in force.",
        ),
    ]
    reason_text: Annotated[
        ReasonText,
        Field(
            description="What the applicant is told of the reason `other`: 10 to 200 characters, "
            "and only with that reason. The policy in force may let it be left out."
        ),
    ] = ""
    note: Text = ""

    @field_validator("reasons", mode="before")
    @classmethod
    def _of_either_field(cls, reasons: Any, info: ValidationInfo) -> Any:
        if "reason" not in info.data:  # It is refused itself, and that is enough.
            return (OTHER,)
        reason = info.data["reason"]
        if reason is None:
            return reasons
        if reasons != ():
            raise PydanticCustomError("reason_and_reasons", "Give `reasons` without `reason`.")
        return (reason,)


_ANSWER: Final = {
    **EXAMPLE_STATUS,
    "claimed_by": None,
    "claimed_until": None,
    "escalated": False,
    "position": 4711,
}


class LoanRequestAnswer(BaseModel):
    """How a loan request stands."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    **_ANSWER,
                    "amount": 20_000,
                    "awaiting": "second opinion",
                    "explanation": "An underwriter looks at it because policy 1 leaves amounts "
                    "above 10,000 to people.",
                },
                {
                    **_ANSWER,
                    "status": "denied",
                    "explanation": "Denied by an underwriter on 23 November 2026 under policy 1, "
                    "for these reasons: You owe too much already.",
                    "reasons": [{"code": "too_much_debt", "text": "You owe too much already."}],
                },
            ]
        }
    )

    id: UUID
    status: Annotated[Status, WithJsonSchema({"type": "string", "enum": _STATUSES})]
    amount: int
    currency: str = Field(description=CURRENCY)
    link: str = Field(description="The page that shows the applicant how the request stands.")
    reasons: list[InWords] = Field(description=REASONS)
    explanation: str | None = Field(description=EXPLANATION)
    awaiting: Awaited | None = Field(description=AWAITING)
    claimed_by: str | None = Field(description=CLAIMED_BY)
    claimed_until: datetime | None = Field(description=CLAIMED_UNTIL)
    escalated: bool = Field(description="Whether only lead underwriters may work on it.")
    position: int = Field(
        description="The commit position of the last event recorded for this request. Whoever "
        "asks how it stands with `after` set to it is answered from there on."
    )
