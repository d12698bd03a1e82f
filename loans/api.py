"""The JSON API's commands. Queries are in `readmodels/api.py`."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Final
from uuid import UUID, uuid4

from django.http import HttpRequest, HttpResponse
from django.shortcuts import resolve_url
from django.utils import timezone
from ninja import Header, Router, Status
from pydantic import BaseModel, ConfigDict, Field

from lepret.problems import FieldError, Problem, ProblemDocument
from loans import use_cases
from loans.dependencies import credit_bureau, event_store, reservations
from loans.domain.commands import Amount, Name, NationalId, RequestLoan, Text
from loans.domain.loan_request import IdAlreadyUsed
from loans.domain.loan_request import Status as LoanStatus
from loans.domain.reservation import OpenRequestExists
from loans.event_store import EventStoreUnavailable, StaleRevision

router = Router(tags=["Loan requests"])

_RETRY_AFTER: Final = {"Retry-After": "10"}


class LoanApplication(BaseModel):
    """What an applicant sends: the fields of `RequestLoan` that are theirs to fill in."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    name: Name
    national_id: NationalId
    amount: Amount
    address: Text = ""
    id: Annotated[UUID, Field(strict=False)] | None = None


class LoanRequestAnswer(BaseModel):
    """How a loan request stands."""

    id: UUID
    status: LoanStatus
    link: str
    position: int = Field(
        description="The commit position of the last event recorded for this request. Whoever "
        "asks how it stands with `after` set to it is answered from there on."
    )


@router.post(
    "/loan-requests",
    response={
        201: LoanRequestAnswer,
        frozenset({400, 409, 413, 422, 503}): ProblemDocument,
    },
)
def request_loan(
    request: HttpRequest,
    response: HttpResponse,
    application: LoanApplication,
    idempotency_key: Annotated[str | None, Header(alias="Idempotency-Key")] = None,
) -> Status[LoanRequestAnswer]:
    """Apply for a loan.

    With an `id`, in the body or as `Idempotency-Key`, the request can be sent again after a lost
    answer: it is carried out once, and answered as the first time.
    """
    command = RequestLoan(
        **application.model_dump(exclude={"id"}),
        id=_loan_request_id(application, idempotency_key),
        issued_at=timezone.now(),
    )
    answer = _carry_out(command)
    response["Location"] = resolve_url("api:loan-request", answer.loan_request_id)
    link = request.build_absolute_uri(resolve_url("readmodels:status", answer.loan_request_id))
    body = LoanRequestAnswer(
        id=answer.loan_request_id, status=answer.status, link=link, position=answer.position
    )
    return Status(HTTPStatus.CREATED, body)


def _loan_request_id(application: LoanApplication, idempotency_key: str | None) -> UUID:
    if idempotency_key is None:
        return application.id or uuid4()
    key = _uuid_in(idempotency_key)
    if application.id not in (None, key):
        raise _bad_key("This names another id than the body does.")
    return key


def _uuid_in(idempotency_key: str) -> UUID:
    try:
        # The header is a structured field: a string in quotes.
        return UUID(idempotency_key.strip('"'))
    except ValueError:
        raise _bad_key("This must be a UUID.") from None


def _bad_key(message: str) -> Problem:
    return Problem(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "Some values cannot be used.",
        errors=[FieldError(field="Idempotency-Key", message=message)],
    )


def _carry_out(command: RequestLoan) -> use_cases.Answer:
    try:
        return use_cases.request_loan(
            command,
            event_store=event_store(),
            credit_bureau=credit_bureau(),
            reservations=reservations(),
        )
    except IdAlreadyUsed as rejection:
        errors = [FieldError(field="id", message=str(rejection))]
        raise Problem(HTTPStatus.CONFLICT, str(rejection), errors=errors) from None
    except OpenRequestExists as rejection:
        raise Problem(HTTPStatus.CONFLICT, str(rejection)) from None
    except (EventStoreUnavailable, StaleRevision):
        raise _unavailable("The request could not be recorded.") from None


def _unavailable(detail: str) -> Problem:
    detail = f"{detail} Please send it again, with the same id."
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers=_RETRY_AFTER)
