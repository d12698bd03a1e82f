"""The request and response bodies of the JSON API's commands."""

from __future__ import annotations

from typing import Annotated, Final
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from lepret.api.bodies import StrictBody
from lepret.api.openapi import CURRENCY, EXAMPLE_STATUS
from loans.domain.commands import Amount, Name, NationalId, Text
from loans.domain.events import DenialReason
from loans.domain.loan_request import Status

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


class Denial(StrictBody):
    """What an underwriter says who denies. The applicant is told the reason, not the note."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"reason": "too_much_debt", "note": "Three loans run."}]},
    )

    reason: Annotated[DenialReason, Field(strict=False)]
    note: Text = ""


class LoanRequestAnswer(BaseModel):
    """How a loan request stands."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{**EXAMPLE_STATUS, "position": 4711}]}
    )

    id: UUID
    status: Annotated[Status, WithJsonSchema({"type": "string", "enum": _STATUSES})]
    amount: int
    currency: str = Field(description=CURRENCY)
    link: str = Field(description="The page that shows the applicant how the request stands.")
    position: int = Field(
        description="The commit position of the last event recorded for this request. Whoever "
        "asks how it stands with `after` set to it is answered from there on."
    )
