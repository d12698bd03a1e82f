"""The JSON API's commands. Queries are in `readmodels/pages/api.py`."""

from __future__ import annotations

from functools import partial
from http import HTTPStatus
from typing import Annotated, Any, Final
from uuid import UUID, uuid4

from django.http import HttpResponse
from django.shortcuts import resolve_url
from django.utils import timezone
from ninja import Router, Status
from pydantic import BaseModel, ConfigDict, Field

from lepret.api.auth import ApiRequest, Bearer
from lepret.api.openapi import ETAG, header
from lepret.api.problems import CONTENT_TYPE, problems
from lepret.models import Scope
from loans.application import use_cases
from loans.dependencies import credit_bureau, event_store, idempotency_keys, reservations
from loans.domain.commands import Amount, ApproveLoan, DenyLoan, Name, NationalId, RequestLoan, Text
from loans.domain.events import DenialReason
from loans.domain.reservation import OpenRequestExists
from loans.web.api_calls import (
    KeyHeader,
    LoanRequestAnswer,
    RevisionHeader,
    answered,
    carry_out,
    key_of,
    use_key,
)

router = Router()

_ID_ANSWERED: Final = {"path.id": "$response.body#/id"}
_AS_ANSWERED: Final = {**_ID_ANSWERED, "header.If-Match": "$response.header.ETag"}
_FOLLOWED_BY: Final = {
    "status": {"operationId": "get_loan_request", "parameters": _ID_ANSWERED},
    "approve": {"operationId": "approve_loan_request", "parameters": _AS_ANSWERED},
    "deny": {"operationId": "deny_loan_request", "parameters": _AS_ANSWERED},
}

_STRICT: Final[ConfigDict] = {"extra": "forbid", "strict": True, "hide_input_in_errors": True}


class LoanApplication(BaseModel):
    """What an applicant sends: the fields of `RequestLoan` that are theirs to fill in."""

    model_config = ConfigDict(
        **_STRICT,
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


class Approval(BaseModel):
    """What an underwriter says who approves."""

    model_config = ConfigDict(
        **_STRICT, json_schema_extra={"examples": [{"note": "A customer for ten years."}]}
    )

    note: Text = ""


class Denial(BaseModel):
    """What an underwriter says who denies. The applicant is told the reason, not the note."""

    model_config = ConfigDict(
        **_STRICT,
        json_schema_extra={"examples": [{"reason": "too_much_debt", "note": "Three loans run."}]},
    )

    reason: Annotated[DenialReason, Field(strict=False)]
    note: Text = ""


@router.post(
    "/loan-requests",
    operation_id="request_loan",
    summary="Apply for a loan",
    tags=["Loan requests"],
    auth=Bearer(Scope.CREATE, is_needed=False),
    response={201: LoanRequestAnswer, **problems(400, 403, 409, 413, 422)},
    openapi_extra={
        "responses": {
            201: {
                "description": "The request is recorded, and scored if the credit bureau could be "
                "asked; otherwise it is `received`, and scored later.",
                "headers": {**ETAG, "Location": header("Where to ask how it stands.", "/api/…")},
                "links": _FOLLOWED_BY,
            },
            409: {
                "description": "The id belongs to another application, or there is a request for "
                "this national ID that is not decided yet.",
                "content": {CONTENT_TYPE: {"example": {"detail": str(OpenRequestExists())}}},
            },
        }
    },
)
def request_loan(
    request: ApiRequest,
    response: HttpResponse,
    application: LoanApplication,
    idempotency_key: KeyHeader = None,
) -> Status[LoanRequestAnswer]:
    """Apply for a loan.

    With an `id` in the body, or an `Idempotency-Key`, the request can be sent again after a lost
    answer: it is carried out once, and answered as the first time.
    """
    key = key_of(request, idempotency_key)
    command = RequestLoan(
        **application.model_dump(exclude={"id"}),
        id=application.id or (uuid4() if key is None else idempotency_keys().loan_request_id(key)),
        issued_at=timezone.now(),
    )
    use_key(request, key, application, loan_request_id=command.id)
    use_case = partial(
        use_cases.request_loan,
        command,
        event_store=event_store(),
        credit_bureau=credit_bureau(),
        reservations=reservations(),
    )
    answer = carry_out(use_case)
    response["Location"] = resolve_url("api:loan-request", answer.loan_request_id)
    return Status(HTTPStatus.CREATED, answered(request, response, answer))


_DECISION: Final[dict[str, Any]] = {
    "tags": ["Underwriting"],
    "auth": Bearer(Scope.DECIDE),
    "response": {200: LoanRequestAnswer, **problems(400, 403, 404, 409, 412, 413, 422, 428)},
    "openapi_extra": {
        "responses": {
            200: {"description": "Decided, now or when it was first sent.", "headers": ETAG},
            409: {
                "description": "It is decided already, differently or by someone else: `detail` "
                "says by whom and when. Or it is not under review."
            },
            412: {
                "description": "It has changed since it was shown: `ETag` says to what.",
                "headers": ETAG,
            },
            428: {"description": "There is no `If-Match`."},
        }
    },
}


@router.post(
    "/loan-requests/{id}/approve",
    operation_id="approve_loan_request",
    summary="Approve a loan request",
    **_DECISION,
)
def approve_loan(
    request: ApiRequest,
    response: HttpResponse,
    id: UUID,  # noqa: A002 (as in the path)
    approval: Approval,
    if_match: RevisionHeader,
    idempotency_key: KeyHeader = None,
) -> LoanRequestAnswer:
    """Approve a request that is under review, as the token's user.

    The same decision sent again by the same user is answered as the first time.
    """
    command = ApproveLoan(**_decision(request, id, approval, if_match))
    use_key(request, key_of(request, idempotency_key), approval, loan_request_id=id)
    answer = carry_out(partial(use_cases.approve_loan, command, event_store=event_store()))
    return answered(request, response, answer)


@router.post(
    "/loan-requests/{id}/deny",
    operation_id="deny_loan_request",
    summary="Deny a loan request",
    **_DECISION,
)
def deny_loan(
    request: ApiRequest,
    response: HttpResponse,
    id: UUID,  # noqa: A002 (as in the path)
    denial: Denial,
    if_match: RevisionHeader,
    idempotency_key: KeyHeader = None,
) -> LoanRequestAnswer:
    """Deny a request that is under review, as the token's user.

    The same decision sent again by the same user is answered as the first time.
    """
    command = DenyLoan(**_decision(request, id, denial, if_match))
    use_key(request, key_of(request, idempotency_key), denial, loan_request_id=id)
    answer = carry_out(partial(use_cases.deny_loan, command, event_store=event_store()))
    return answered(request, response, answer)


def _decision(
    request: ApiRequest, loan_request_id: UUID, body: BaseModel, shown_revision: int | None
) -> dict[str, Any]:
    assert request.auth.user is not None, "nobody decides without a token"
    return {
        **body.model_dump(),
        "id": loan_request_id,
        "decided_by": request.auth.user.get_username(),
        "shown_revision": shown_revision,
        "issued_at": timezone.now(),
    }
