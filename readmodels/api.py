"""The JSON API's queries. Commands are in `loans/api.py`."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from django.http import HttpRequest
from django.shortcuts import resolve_url
from ninja import Query, Router
from pydantic import BaseModel, Field

from lepret.problems import Problem, ProblemDocument
from readmodels.event_history import HistoryUnavailable
from readmodels.models import Status
from readmodels.waiting import LAST_POSITION, UnknownLoanRequest, status_when_known

router = Router(tags=["Loan requests"])


After = Annotated[
    int | None,
    Query(
        ge=0,
        le=LAST_POSITION,
        description="The commit position that a command was answered with. The answer waits a "
        "moment, if it must, until what was recorded there is known here, and says in "
        "`up_to_date` whether it is.",
    ),
]


class LoanRequestStatus(BaseModel):
    """How a loan request stands."""

    id: UUID
    status: Status
    link: str
    up_to_date: bool = Field(
        description="False where what was recorded, up to the position `after` if one was given, "
        "is not known here yet. Ask again in a moment."
    )


@router.get(
    "/loan-requests/{id}",
    url_name="loan-request",
    response={200: LoanRequestStatus, frozenset({404, 422, 503}): ProblemDocument},
)
def loan_request(
    request: HttpRequest,
    id: UUID,  # noqa: A002 (as in the path)
    after: After = None,
) -> LoanRequestStatus:
    """How a loan request stands; `received` until the decision is known."""
    try:
        known = status_when_known(id, after=after)
    except UnknownLoanRequest:
        raise Problem(HTTPStatus.NOT_FOUND, "There is no loan request with this id.") from None
    except HistoryUnavailable:
        raise Problem(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "Loan requests cannot be looked up at the moment.",
            headers={"Retry-After": "10"},
        ) from None
    link = request.build_absolute_uri(resolve_url("readmodels:status", id))
    return LoanRequestStatus(id=id, status=known.status, link=link, up_to_date=known.is_up_to_date)
