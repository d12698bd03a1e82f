"""The JSON API's queries. Commands are in `loans/api.py`."""

from __future__ import annotations

from http import HTTPStatus
from uuid import UUID

from django.http import HttpRequest
from django.shortcuts import resolve_url
from ninja import Router
from pydantic import BaseModel

from lepret.problems import Problem, ProblemDocument
from readmodels.event_history import HistoryUnavailable
from readmodels.models import Status
from readmodels.waiting import UnknownLoanRequest, status_when_known

router = Router(tags=["Loan requests"])


class LoanRequestStatus(BaseModel):
    """How a loan request stands."""

    id: UUID
    status: Status
    link: str


@router.get(
    "/loan-requests/{id}",
    url_name="loan-request",
    response={200: LoanRequestStatus, frozenset({404, 422, 503}): ProblemDocument},
)
def loan_request(request: HttpRequest, id: UUID) -> LoanRequestStatus:  # noqa: A002 (as in the path)
    """How a loan request stands; `received` until the decision is known."""
    try:
        status = status_when_known(id)
    except UnknownLoanRequest:
        raise Problem(HTTPStatus.NOT_FOUND, "There is no loan request with this id.") from None
    except HistoryUnavailable:
        raise Problem(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "Loan requests cannot be looked up at the moment.",
            headers={"Retry-After": "10"},
        ) from None
    link = request.build_absolute_uri(resolve_url("readmodels:status", id))
    return LoanRequestStatus(id=id, status=status, link=link)
