"""The JSON API's commands, but for claims: these are in `claims_api.py`.

Queries are in `readmodels/pages/api.py`, but for `policy_api.py`.

`loans/web/problems.py` turns exceptions of the use cases into responses.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final
from uuid import UUID, uuid4

from django.http import HttpResponse
from django.shortcuts import resolve_url
from django.utils import timezone
from ninja import Status
from pydantic import BaseModel

from lepret.api.auth import ApiRequest, Bearer
from lepret.api.openapi import ETAG, header
from lepret.api.problems import CONTENT_TYPE, problems
from lepret.api.routing import Router
from lepret.common.callers import address_of
from lepret.models import Scope
from lepret.staff.roles import is_lead
from loans.application import use_cases
from loans.dependencies import event_store, idempotency_keys, pace, policies
from loans.domain.commands import AddNote, ApproveLoan, DenyLoan, RequestLoan
from loans.domain.reservation import OpenRequestExists
from loans.web import applying
from loans.web.calls import answered, key_of, use_key
from loans.web.headers import KeyHeader, RevisionHeader
from loans.web.schemas import Approval, Denial, LoanApplication, LoanRequestAnswer, NewNote

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
    key = key_of(request, idempotency_key)
    command = RequestLoan(
        **application.model_dump(exclude={"id"}),
        id=application.id or (uuid4() if key is None else idempotency_keys().loan_request_id(key)),
        issued_at=timezone.now(),
    )
    use_key(request, key, application, loan_request_id=command.id)
    # Calls with a token are counted by their user: see `lepret.api.throttling`.
    address = address_of(request) if request.auth.user is None else None
    with pace().application() as this:
        answer = applying.request_loan(
            command,
            address=address,
            application=this,
            is_new_id=application.id is None and key is None,
        )
    response["Location"] = resolve_url("api:loan-request", answer.loan_request_id)
    return Status(HTTPStatus.CREATED, answered(request, response, answer))


_DECISION: Final[dict[str, Any]] = {
    "tags": ["Underwriting"],
    "auth": Bearer(Scope.DECIDE),
    "response": {200: LoanRequestAnswer, **problems(403, 404, 409, 410, 412, 413, 415, 422, 428)},
    "openapi_extra": {
        "responses": {
            200: {
                "description": "Decided, now or when it was first sent. Or it takes one more "
                "person to decide: then it is `under_review`, and `awaiting` says whose opinion.",
                "headers": ETAG,
            },
            409: {
                "description": "It is decided already, differently or by someone else: `detail` "
                "says by whom and when. Or somebody else works on it, or it was left to the leads, "
                "or it is not under review."
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

    Above the policy's limit it takes two people. The same decision sent again by the same user is
    answered as the first time.
    """
    command = ApproveLoan(**_decision(request, id, approval, if_match))
    use_key(request, key_of(request, idempotency_key), approval, loan_request_id=id)
    answer = use_cases.approve_loan(command, event_store=event_store(), policies=policies())
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

    It takes two people where somebody else is for an approval. The same decision sent again by the
    same user is answered as the first time.
    """
    command = DenyLoan(**_decision(request, id, denial, if_match))
    use_key(request, key_of(request, idempotency_key), denial, loan_request_id=id)
    answer = use_cases.deny_loan(command, event_store=event_store(), policies=policies())
    return answered(request, response, answer)


@router.post(
    "/loan-requests/{id}/notes",
    operation_id="add_note",
    summary="Add a note to a loan request",
    tags=["Underwriting"],
    auth=Bearer(Scope.DECIDE),
    response={200: LoanRequestAnswer, **problems(403, 404, 409, 410, 413, 415, 422)},
    openapi_extra={
        "responses": {
            200: {
                "description": "The note is recorded. A decision that names an earlier `etag` is "
                "refused from now on.",
                "headers": ETAG,
            },
            409: {"description": "It has as many notes as it may have."},
            410: {"description": "Its record was deleted."},
        }
    },
)
def add_note(
    request: ApiRequest,
    response: HttpResponse,
    id: UUID,  # noqa: A002 (as in the path)
    note: NewNote,
    idempotency_key: KeyHeader = None,
) -> LoanRequestAnswer:
    """Add a note for the staff, as the token's user, however the request stands.

    With an `Idempotency-Key` it can be sent again after a lost answer.
    """
    assert request.auth.user is not None, "nobody adds a note without a token"
    key = key_of(request, idempotency_key)
    command = AddNote(
        id=id,
        issued_at=timezone.now(),
        by=request.auth.user.get_username(),
        text=note.text,
        sent_as=None if key is None else idempotency_keys().note_id(key),
    )
    use_key(request, key, note, loan_request_id=id)
    return answered(request, response, use_cases.add_note(command, event_store=event_store()))


def _decision(
    request: ApiRequest, loan_request_id: UUID, body: BaseModel, shown_revision: int | None
) -> dict[str, Any]:
    assert request.auth.user is not None, "nobody decides without a token"
    return {
        **body.model_dump(exclude={"reason"}),
        "id": loan_request_id,
        "decided_by": request.auth.user.get_username(),
        "as_lead": is_lead(request.auth.user),
        "shown_revision": shown_revision,
        "issued_at": timezone.now(),
    }
