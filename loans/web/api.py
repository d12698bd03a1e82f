"""The JSON API's commands. Queries are in `readmodels/pages/api.py`.

`loans/web/problems.py` turns exceptions of the use cases into responses.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any, Final
from uuid import UUID, uuid4

from django.conf import settings
from django.http import HttpResponse
from django.shortcuts import resolve_url
from django.utils import timezone
from django.utils.http import quote_etag
from ninja import Status
from pydantic import BaseModel

from lepret.api.auth import ApiRequest, Bearer
from lepret.api.openapi import ETAG, header
from lepret.api.problems import CONTENT_TYPE, problems
from lepret.api.routing import Router
from lepret.common.callers import address_of
from lepret.models import Scope
from loans.application import use_cases
from loans.application.idempotency import IdempotencyKey
from loans.application.use_cases import Answer
from loans.dependencies import event_store, idempotency_keys, pace
from loans.domain.commands import ApproveLoan, DenyLoan, RequestLoan
from loans.domain.reservation import OpenRequestExists
from loans.web import applying
from loans.web.headers import KeyHeader, RevisionHeader
from loans.web.problems import bad_key
from loans.web.schemas import Approval, Denial, LoanApplication, LoanRequestAnswer

router = Router()

_ANSWERED_ID: Final = {"path.id": "$response.body#/id"}
_ANSWERED_ID_AND_ETAG: Final = {**_ANSWERED_ID, "header.If-Match": "$response.header.ETag"}
_LINKS: Final = {
    "status": {"operationId": "get_loan_request", "parameters": _ANSWERED_ID},
    "approve": {"operationId": "approve_loan_request", "parameters": _ANSWERED_ID_AND_ETAG},
    "deny": {"operationId": "deny_loan_request", "parameters": _ANSWERED_ID_AND_ETAG},
}


@router.post(
    "/loan-requests",
    operation_id="request_loan",
    summary="Apply for a loan",
    tags=["Loan requests"],
    auth=Bearer(Scope.CREATE, is_needed=False),
    response={201: LoanRequestAnswer, **problems(403, 409, 410, 413, 415, 422)},
    openapi_extra={
        "responses": {
            201: {
                "description": "The request is recorded, and scored if the credit bureau could be "
                "asked; otherwise it is `received`, and scored later.",
                "headers": {**ETAG, "Location": header("Where to ask how it stands.", "/api/…")},
                "links": _LINKS,
            },
            409: {
                "description": "The application cannot be taken now: the id belongs to another "
                "one, or the person may have a request that is not decided yet.",
                "content": {CONTENT_TYPE: {"example": {"detail": str(OpenRequestExists())}}},
            },
            410: {
                "description": "The id belongs to a request whose record was deleted. Apply with "
                "another id, and another `Idempotency-Key`."
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
    key = _key_of(request, idempotency_key)
    command = RequestLoan(
        **application.model_dump(exclude={"id"}),
        id=application.id or (uuid4() if key is None else idempotency_keys().loan_request_id(key)),
        issued_at=timezone.now(),
    )
    _use_key(request, key, application, loan_request_id=command.id)
    # Calls with a token are counted by their user: see `lepret.api.throttling`.
    address = address_of(request) if request.auth.user is None else None
    with pace().application() as this:
        answer = applying.request_loan(command, address=address, application=this)
    response["Location"] = resolve_url("api:loan-request", answer.loan_request_id)
    return Status(HTTPStatus.CREATED, _answered(request, response, answer))


_DECISION: Final[dict[str, Any]] = {
    "tags": ["Underwriting"],
    "auth": Bearer(Scope.DECIDE),
    "response": {200: LoanRequestAnswer, **problems(403, 404, 409, 410, 412, 413, 415, 422, 428)},
    "openapi_extra": {
        "responses": {
            200: {"description": "Decided, now or when it was first sent.", "headers": ETAG},
            409: {
                "description": "It is decided already, differently or by someone else: `detail` "
                "says by whom and when. Or it is not under review."
            },
            410: {"description": "Its record was deleted: nobody can decide it any more."},
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
    _use_key(request, _key_of(request, idempotency_key), approval, loan_request_id=id)
    answer = use_cases.approve_loan(command, event_store=event_store())
    return _answered(request, response, answer)


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
    _use_key(request, _key_of(request, idempotency_key), denial, loan_request_id=id)
    answer = use_cases.deny_loan(command, event_store=event_store())
    return _answered(request, response, answer)


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


def _key_of(request: ApiRequest, value: str | None) -> IdempotencyKey | None:
    if value is None:
        return None
    if request.auth.user is None and not _is_uuid(value):
        raise bad_key("Without a token this must be a UUID, since others could use the same key.")
    return IdempotencyKey(request.auth.name, value)


def _is_uuid(value: str) -> bool:
    try:
        UUID(value)
    except ValueError:
        return False
    return True


def _use_key(
    request: ApiRequest, key: IdempotencyKey | None, body: BaseModel, *, loan_request_id: UUID
) -> None:
    """Record what the key is used for.

    Called for valid calls only: an invalid call leaves its key unused.
    """
    if key is None:
        return
    # Without defaults: a field that a later version adds must not make this another call.
    text = json.dumps(body.model_dump(mode="json", exclude_defaults=True), sort_keys=True)
    call = (str(request.method), request.path, text)
    idempotency_keys().use(key, *call, loan_request_id=loan_request_id, now=timezone.now())


def _answered(request: ApiRequest, response: HttpResponse, answer: Answer) -> LoanRequestAnswer:
    response["ETag"] = quote_etag(str(answer.revision))
    link = request.build_absolute_uri(resolve_url("readmodels:status", answer.loan_request_id))
    application = answer.state.application
    assert application is not None, "what is answered was requested"
    return LoanRequestAnswer(
        id=answer.loan_request_id,
        status=answer.status,
        amount=application.amount,
        currency=settings.CURRENCY,
        link=link,
        position=answer.position,
    )
