"""The JSON API's queries. Commands are in `loans/web/api.py`."""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any, Final, Self
from urllib.parse import urlencode
from uuid import UUID

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseNotModified
from django.shortcuts import resolve_url
from django.utils import timezone
from django.utils.cache import get_conditional_response
from django.utils.http import quote_etag
from ninja import Query
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from lepret.api.auth import ApiRequest, Bearer
from lepret.api.openapi import (
    AWAITING,
    CURRENCY,
    ETAG,
    EXAMPLE_ID,
    EXAMPLE_STATUS,
    EXPLANATION,
    REASONS,
    InWords,
    header,
)
from lepret.api.problems import Problem, ProblemMakers, problems, unavailable
from lepret.api.routing import Router
from lepret.models import Scope
from loans.domain.policy import Policy
from readmodels.clocks import due_at, legal_deadline
from readmodels.models import Awaiting, LoanStatus, PendingRequest, Place, Status
from readmodels.pages.event_history import HistoryUnavailable
from readmodels.pages.explaining import explanation_of, reasons_to_applicant
from readmodels.pages.opinions import awaiting
from readmodels.pages.queue_cursor import PATTERN as CURSOR_PATTERN
from readmodels.pages.queue_cursor import NoCursor, cursor_at, place_of
from readmodels.pages.queue_filter import Show, narrowed
from readmodels.pages.waiting import LAST_POSITION, NotRecorded, status_when_known
from readmodels.policies import policy_in_force, policy_of, words_of

router = Router()

PROBLEMS: Final[ProblemMakers] = {
    NotRecorded: lambda _: Problem(HTTPStatus.NOT_FOUND, "There is no loan request with this id."),
    HistoryUnavailable: lambda _: unavailable("Loan requests cannot be looked up at the moment."),
}

_GONE: Final = (
    "The record of this loan request was deleted or cut short: nobody can tell how it stands. Its "
    "applicant may apply again."
)
_EXAMPLE_CURSOR: Final = "AAZEbXN4n6C56Eo8elxNfZ0PL214HF4R"
_LONGEST_PAGE: Final = 500

AfterParameter = Annotated[
    int | None,
    Query(
        ge=0,
        le=LAST_POSITION,
        description="The commit position that a command was answered with. The answer waits a "
        "moment, if it must, until what was recorded there is known here, and says in "
        "`up_to_date` whether it is.",
        examples=[4711],
    ),
]


class LoanRequestStatus(BaseModel):
    """How a loan request stands."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{**EXAMPLE_STATUS, "up_to_date": True}]}
    )

    id: UUID
    status: Status
    amount: int | None = Field(description="Null as long as it is not known here yet.")
    currency: str = Field(description=CURRENCY)
    link: str = Field(description="The page that shows the applicant how the request stands.")
    reasons: list[InWords] = Field(description=REASONS)
    explanation: str | None = Field(description=EXPLANATION)
    awaiting: Awaiting | None = Field(description=AWAITING)
    up_to_date: bool = Field(
        description="False where what was recorded, up to the position `after` if one was given, "
        "is not known here yet. Ask again in a moment."
    )


@router.get(
    "/loan-requests/{id}",
    url_name="loan-request",
    operation_id="get_loan_request",
    summary="See how a loan request stands",
    tags=["Loan requests"],
    auth=Bearer(is_needed=False),
    response={200: LoanRequestStatus, 304: None, **problems(404, 410, 422)},
    openapi_extra={
        "parameters": [
            {
                "in": "header",
                "name": "If-None-Match",
                "description": "The `ETag` of an earlier answer: where it is still that, the "
                "answer is 304.",
                "schema": {"type": "string"},
                "required": False,
                "example": '"2"',
            }
        ],
        "responses": {
            200: {
                "description": "How it stands; with an `ETag` where that is up to date.",
                "headers": ETAG,
            },
            304: {"description": "As it was at the `ETag` that was sent.", "headers": ETAG},
            410: {"description": "Its record was deleted: nobody can tell how it stands."},
        },
    },
)
def loan_request(
    request: HttpRequest,
    response: HttpResponse,
    id: UUID,  # noqa: A002 (as in the path)
    after: AfterParameter = None,
) -> LoanRequestStatus | HttpResponse:
    """How a loan request stands; `received` until the decision is known."""
    known = status_when_known(id, after=after)
    if known.is_gone:
        raise Problem(HTTPStatus.GONE, _GONE)
    # No tag for an answer that is not up to date, since it could be taken for one that is. Nor
    # before its policy is known: then it says something else of the same revision.
    if known.loan is not None and known.is_up_to_date and policy_of(known.loan.policy):
        response["ETag"] = quote_etag(str(known.loan.revision))
        conditional = get_conditional_response(request, response["ETag"], response=response)
        # Otherwise it may be a 412, but a query ignores If-Match.
        if isinstance(conditional, HttpResponseNotModified):
            return conditional
    link = request.build_absolute_uri(resolve_url("readmodels:status", id))
    return LoanRequestStatus(
        id=id,
        status=known.status,
        amount=known.loan and known.loan.amount,
        currency=settings.CURRENCY,
        link=link,
        **_in_words(known.loan),
        up_to_date=known.is_up_to_date,
    )


def _in_words(loan: LoanStatus | None) -> dict[str, Any]:
    if loan is None:
        return {"reasons": [], "explanation": None, "awaiting": None}
    reasons = reasons_to_applicant(loan)
    return {
        "reasons": [InWords(code=each.code, text=each.text) for each in reasons],
        "explanation": explanation_of(loan),
        "awaiting": Awaiting(loan.awaiting) if loan.awaiting else None,
    }


def _place_of(cursor: str) -> Place:
    try:
        return place_of(cursor)
    except NoCursor:
        raise PydanticCustomError("cursor", "This is no cursor of the queue.") from None


LimitParameter = Annotated[
    int, Query(ge=1, le=_LONGEST_PAGE, description="How many requests at most.")
]
CursorParameter = Annotated[
    Annotated[
        Place,
        BeforeValidator(_place_of),
        WithJsonSchema({"type": "string", "pattern": f"^{CURSOR_PATTERN}$"}),
    ]
    | None,
    Query(description="`next` of the page before. It says nothing, and stays valid."),
]


_Amount = Annotated[int, Field(ge=0, le=2**63 - 1)]


class Wanted(BaseModel):
    """What a caller wants to see of the queue."""

    show: Show = Field(
        Show.ALL,
        description="`unclaimed`: on which nobody works at the moment; `mine`: on which the "
        "token's user works; `due`: of whose time until `due_at` three quarters are over, or all; "
        "`large`: which it takes two to approve; `second`: which wait for another opinion.",
    )
    amount_from: _Amount | None = Field(None, description="The lowest amount.")
    amount_to: _Amount | None = Field(None, description="The highest amount.")


class QueuedRequest(BaseModel):
    """A loan request that waits for an underwriter's decision."""

    id: UUID
    name: str
    national_id: str
    amount: int
    currency: str = Field(description=CURRENCY)
    credit_score: int
    factors: list[InWords] = Field(description="What has lowered the score, the worst first.")
    requested_at: datetime
    due_at: datetime = Field(description="Until when the lender promises to decide.")
    legal_due_at: datetime = Field(
        description="Until when the law wants the applicant to be told: 30 days after all was "
        "there that a decision needs."
    )
    awaiting: Awaiting | None = Field(description=AWAITING)
    claimed_by: str | None = Field(
        description="Who works on it; others may not decide it meanwhile. Null: nobody."
    )
    claimed_until: datetime | None = Field(description="When the claim runs out by itself.")
    escalated: bool = Field(description="Whether it was left to the lead underwriters.")
    notes: int = Field(description="How many notes underwriters have made.")
    etag: str = Field(description="To be sent as `If-Match` with the decision.")

    @classmethod
    def of(cls, row: PendingRequest, policy: Policy, now: datetime) -> Self:
        """From a row of the read model, by the policy in force, at a moment."""
        words = words_of(row.policy)
        is_claimed = row.claimed_until is not None and row.claimed_until > now
        made = {
            "currency": settings.CURRENCY,
            "factors": [InWords(code=code, text=words.to_staff(code)) for code in row.factors],
            "due_at": due_at(row.requested_at, policy),
            "legal_due_at": legal_deadline(row.requested_at),
            "awaiting": awaiting(row.votes),
            "claimed_by": row.claimed_by if is_claimed else None,
            "claimed_until": row.claimed_until if is_claimed else None,
            "escalated": bool(row.escalated_by),
            "etag": quote_etag(str(row.revision)),
        }
        return cls(
            **{name: getattr(row, name) for name in cls.model_fields.keys() - made.keys()}, **made
        )


class QueueAnswer(BaseModel):
    """A page of the underwriters' queue."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "items": [
                        {
                            "id": EXAMPLE_ID,
                            "name": "Ann Example",
                            "national_id": "666666aa",
                            "amount": 5000,
                            "currency": "GBP",
                            "credit_score": 6,
                            "factors": [
                                {"code": "short_history", "text": "You have a short history."}
                            ],
                            "requested_at": "2026-11-23T09:30:00Z",
                            "due_at": "2026-11-25T09:30:00Z",
                            "legal_due_at": "2026-12-23T09:30:00Z",
                            "awaiting": None,
                            "claimed_by": "uma",
                            "claimed_until": "2026-11-23T10:12:00Z",
                            "escalated": False,
                            "notes": 1,
                            "etag": '"2"',
                        }
                    ],
                    "next": _EXAMPLE_CURSOR,
                }
            ]
        }
    )

    items: list[QueuedRequest]
    next: str | None = Field(description="The next page's `cursor`; null: this is the last one.")


@router.get(
    "/underwriting/queue",
    url_name="queue",
    operation_id="list_queue",
    summary="List what waits for a decision",
    tags=["Underwriting"],
    auth=Bearer(Scope.READ_QUEUE),
    response={200: QueueAnswer, **problems(403, 422)},
    openapi_extra={
        "responses": {
            200: {
                "description": "A page of the queue.",
                "headers": {
                    "Link": header(
                        "The next page, where there is one (RFC 8288).",
                        '<https://loans.example.com/api/underwriting/queue?cursor=…>; rel="next"',
                    )
                },
            }
        }
    },
)
def queue(
    request: ApiRequest,
    response: HttpResponse,
    wanted: Query[Wanted],
    limit: LimitParameter = 50,
    cursor: CursorParameter = None,
) -> QueueAnswer:
    """The requests that wait for a decision, oldest first, which are those that are due first.

    Pages hold together while requests come and go: none is shown twice, and none that waits all the
    while, and is among those that are asked for, is left out.
    """
    assert request.auth.user is not None, "nobody reads the queue without a token"
    now, username = timezone.now(), request.auth.user.get_username()
    policy = policy_in_force(now).policy
    waiting = PendingRequest.objects.waiting().for_amounts(wanted.amount_from, wanted.amount_to)
    shown = narrowed(waiting, wanted.show, username=username, now=now, policy=policy)
    rows = list(shown.oldest_first().behind(cursor)[: limit + 1])
    items = [QueuedRequest.of(row, policy, now) for row in rows[:limit]]
    response["Cache-Control"] = "no-store"
    if len(rows) <= limit:
        return QueueAnswer(items=items, next=None)
    following = cursor_at(Place(items[-1].requested_at, items[-1].id))
    asked = wanted.model_dump(mode="json", exclude_none=True)
    query = urlencode({"limit": limit, "cursor": following, **asked})
    url = request.build_absolute_uri(f"{request.path}?{query}")
    response["Link"] = f'<{url}>; rel="next"'
    return QueueAnswer(items=items, next=following)
