"""The JSON API's commands about who works on a request.

Each is known again by what it leads to: sent again, it finds that so, and changes nothing more.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final, Protocol
from uuid import UUID

from django.contrib.auth.models import User
from django.http import HttpResponse
from django.utils import timezone

from lepret.api.auth import ApiRequest, Bearer
from lepret.api.openapi import ETAG
from lepret.api.problems import CONTENT_TYPE, Problem, problems
from lepret.api.routing import Router
from lepret.models import Scope
from lepret.staff.roles import is_lead, underwriters
from loans.application import use_cases
from loans.dependencies import event_store, policies
from loans.domain.commands import ClaimRequest, EscalateRequest, HandOver, ReleaseRequest
from loans.web.calls import answered
from loans.web.forms import NO_UNDERWRITER
from loans.web.problems import bad_value
from loans.web.schemas import Escalation, LoanRequestAnswer, NewHolder, NoFields

router = Router()

_NOTHING_LEFT: Final = "Nothing that waits can be claimed at the moment."


def _of_one_request(done: str, refused: str) -> dict[str, Any]:
    """What the operations on a request have in common."""
    return {
        "tags": ["Underwriting"],
        "auth": Bearer(Scope.DECIDE),
        "response": {200: LoanRequestAnswer, **problems(403, 404, 409, 410, 413, 415, 422)},
        "openapi_extra": {
            "responses": {
                200: {"description": done, "headers": ETAG},
                409: {"description": refused},
                410: {"description": "Its record was deleted."},
            }
        },
    }


@router.post(
    "/loan-requests/{id}/claim",
    operation_id="claim_loan_request",
    summary="Claim a loan request",
    **_of_one_request(
        "The token's user holds it, until `claimed_until`.",
        "Somebody else holds it: `detail` says who, and until when. Or it was left to the leads, "
        "or it is decided, or not under review.",
    ),
)
def claim(
    request: ApiRequest,
    response: HttpResponse,
    id: UUID,  # noqa: A002 (as in the path)
    body: NoFields = NoFields(),  # noqa: B008 (immutable, and ninja takes defaults from here)
) -> LoanRequestAnswer:
    """Work on a request alone for a time, as the token's user.

    Sent again, it goes on for as long once half of the time is over. Nobody has to claim what they
    decide.
    """
    command = ClaimRequest(**_known(request, id), as_lead=is_lead(_user_of(request)))
    answer = use_cases.claim_request(command, event_store=event_store(), policies=policies())
    return answered(request, response, answer)


@router.post(
    "/loan-requests/{id}/release",
    operation_id="release_loan_request",
    summary="Let go of a loan request",
    **_of_one_request(
        "The token's user does not hold it (any more). Somebody else may.",
        "It cannot be released.",
    ),
)
def release(
    request: ApiRequest,
    response: HttpResponse,
    id: UUID,  # noqa: A002 (as in the path)
    body: NoFields = NoFields(),  # noqa: B008 (as above)
) -> LoanRequestAnswer:
    """Let go of a request. What somebody else holds stays theirs."""
    command = ReleaseRequest(**_known(request, id))
    answer = use_cases.release_request(command, event_store=event_store(), policies=policies())
    return answered(request, response, answer)


@router.post(
    "/loan-requests/{id}/hand-over",
    operation_id="hand_over_loan_request",
    summary="Hand a loan request over",
    **_of_one_request(
        "The other underwriter holds it, until `claimed_until`.",
        "Somebody else holds it, or nobody: only leads may give it away then. Or it was left to "
        "the leads, and the other one is none. Or it is decided, or not under review.",
    ),
)
def hand_over(
    request: ApiRequest,
    response: HttpResponse,
    id: UUID,  # noqa: A002 (as in the path)
    body: NewHolder,
) -> LoanRequestAnswer:
    """Give a request to another underwriter, for longer than a claim."""
    to = next((each for each in underwriters() if each.get_username() == body.to), None)
    if to is None:
        raise bad_value("to", NO_UNDERWRITER)
    command = HandOver(
        **_known(request, id),
        **body.model_dump(),
        as_lead=is_lead(_user_of(request)),
        to_lead=is_lead(to),
    )
    answer = use_cases.hand_over(command, event_store=event_store(), policies=policies())
    return answered(request, response, answer)


@router.post(
    "/loan-requests/{id}/escalate",
    operation_id="escalate_loan_request",
    summary="Leave a loan request to the leads",
    **_of_one_request(
        "Only lead underwriters may work on it, and nobody holds it at first.",
        "Somebody else holds it. Or it is decided, or not under review.",
    ),
)
def escalate(
    request: ApiRequest,
    response: HttpResponse,
    id: UUID,  # noqa: A002 (as in the path)
    body: Escalation,
) -> LoanRequestAnswer:
    """Leave a request to the lead underwriters, and say why."""
    command = EscalateRequest(**_known(request, id), why=body.why)
    answer = use_cases.escalate_request(command, event_store=event_store(), policies=policies())
    return answered(request, response, answer)


class IdsToClaim(Protocol):
    """Asks for requests that an underwriter could claim, the most urgent first."""

    def __call__(self, username: str, *, is_lead: bool, now: datetime) -> Iterable[UUID]: ...


def router_of_next(ids_to_claim: IdsToClaim) -> Router:
    """The operation that claims what is most urgent; what there is, the read side knows."""
    queue = Router()

    @queue.post(
        "/queue/next",
        operation_id="claim_next",
        summary="Claim the next loan request",
        tags=["Underwriting"],
        auth=Bearer(Scope.DECIDE),
        response={200: LoanRequestAnswer, **problems(403, 404, 413, 415, 422)},
        openapi_extra={
            "responses": {
                200: {
                    "description": "The token's user holds this one, until `claimed_until`.",
                    "headers": ETAG,
                },
                404: {
                    "description": "Nothing is left to claim.",
                    "content": {CONTENT_TYPE: {"example": {"detail": _NOTHING_LEFT}}},
                },
            }
        },
    )
    def claim_next(
        request: ApiRequest,
        response: HttpResponse,
        body: NoFields = NoFields(),  # noqa: B008 (as above)
    ) -> LoanRequestAnswer:
        """Claim the most urgent request that nobody holds, as the token's user.

        Not one on which the user has given an opinion. Sent again, it claims another one.
        """
        user = _user_of(request)
        as_lead = is_lead(user)
        answer = use_cases.claim_first_of(
            ids_to_claim(user.get_username(), is_lead=as_lead, now=timezone.now()),
            by=user.get_username(),
            as_lead=as_lead,
            clock=timezone.now,
            event_store=event_store(),
            policies=policies(),
        )
        if answer is None:
            raise Problem(HTTPStatus.NOT_FOUND, _NOTHING_LEFT)
        return answered(request, response, answer)

    return queue


def _user_of(request: ApiRequest) -> User:
    assert request.auth.user is not None, "nobody claims without a token"
    return request.auth.user


def _known(request: ApiRequest, loan_request_id: UUID) -> dict[str, Any]:
    by = _user_of(request).get_username()
    return {"id": loan_request_id, "by": by, "issued_at": timezone.now()}
