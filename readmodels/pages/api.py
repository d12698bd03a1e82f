"""The JSON API's queries. Commands are in `loans/web/api.py`."""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Final, Self
from urllib.parse import urlencode
from uuid import UUID

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseNotModified
from django.shortcuts import resolve_url
from django.utils.cache import get_conditional_response
from django.utils.http import quote_etag
from ninja import Query
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from lepret.api.auth import Bearer
from lepret.api.openapi import CURRENCY, ETAG, EXAMPLE_ID, EXAMPLE_STATUS, header
from lepret.api.problems import Problem, ProblemMakers, problems, unavailable
from lepret.api.routing import Router
from lepret.models import Scope
from readmodels.models import PendingRequest, Place, Status
from readmodels.pages.event_history import HistoryUnavailable
from readmodels.pages.queue_cursor import PATTERN as CURSOR_PATTERN
from readmodels.pages.queue_cursor import NoCursor, cursor_at, place_of
from readmodels.pages.waiting import LAST_POSITION, NotRecorded, status_when_known

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
    # No tag for an answer that is not up to date, since it could be taken for one that is.
    if known.loan is not None and known.is_up_to_date:
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
        up_to_date=known.is_up_to_date,
    )


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


class QueuedRequest(BaseModel):
    """A loan request that waits for an underwriter's decision."""

    id: UUID
    name: str
    national_id: str
    amount: int
    currency: str = Field(description=CURRENCY)
    credit_score: int
    requested_at: datetime
    etag: str = Field(description="To be sent as `If-Match` with the decision.")

    @classmethod
    def of(cls, row: PendingRequest) -> Self:
        """From a row of the read model."""
        fields = cls.model_fields.keys() - {"currency", "etag"}
        return cls(
            **{name: getattr(row, name) for name in fields},
            currency=settings.CURRENCY,
            etag=quote_etag(str(row.revision)),
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
                            "requested_at": "2026-11-23T09:30:00Z",
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
    request: HttpRequest,
    response: HttpResponse,
    limit: LimitParameter = 50,
    cursor: CursorParameter = None,
) -> QueueAnswer:
    """The requests that wait for a decision, oldest first.

    Pages hold together while requests come and go: none is shown twice, and none that waits all the
    while is left out.
    """
    rows = list(PendingRequest.objects.waiting().oldest_first().behind(cursor)[: limit + 1])
    items = [QueuedRequest.of(row) for row in rows[:limit]]
    response["Cache-Control"] = "no-store"
    if len(rows) <= limit:
        return QueueAnswer(items=items, next=None)
    following = cursor_at(Place(items[-1].requested_at, items[-1].id))
    query = urlencode({"limit": limit, "cursor": following})
    url = request.build_absolute_uri(f"{request.path}?{query}")
    response["Link"] = f'<{url}>; rel="next"'
    return QueueAnswer(items=items, next=following)
