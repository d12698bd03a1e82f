"""What the JSON API's commands have in common: keys, conditions, answers, and refusals."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, Final
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import resolve_url
from django.utils import timezone
from ninja import Header
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from lepret.api.auth import ApiRequest
from lepret.api.etags import PATTERN as ETAG_PATTERN
from lepret.api.etags import etag, revision_in
from lepret.api.openapi import EXAMPLE_ID
from lepret.api.problems import FieldError, Problem, unavailable
from loans.adapters.event_store import EventStoreUnavailable, StaleRevision
from loans.application.idempotency import IdempotencyKey, KeyUsedOtherwise
from loans.application.use_cases import Answer
from loans.dependencies import idempotency_keys
from loans.domain.loan_request import (
    IdAlreadyUsed,
    OutOfDate,
    Rejection,
    Status,
    UnknownLoanRequest,
)

IDEMPOTENCY_KEY: Final = "Idempotency-Key"

# A string as RFC 9651 (section 3.3.3) has it; many send it bare.
_QUOTED: Final = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\]){1,255})"')
_BARE: Final = re.compile(r"[!#-~][ -~]{0,254}")
_KEY_SCHEMA: Final = {"type": "string", "pattern": f"^({_QUOTED.pattern}|{_BARE.pattern})$"}

# Nothing is answered about what was not requested.
_STATUSES: Final = [each.value for each in Status if each is not Status.NOT_REQUESTED]


def _key_in(value: str) -> str:
    if quoted := _QUOTED.fullmatch(value):
        return re.sub(r"\\(.)", r"\1", quoted[1])
    if _BARE.fullmatch(value):
        return value
    raise PydanticCustomError(
        "idempotency_key", "This must be 1 to 255 printable ASCII characters, in double quotes."
    )


def _revision_in(value: str) -> int | None:
    if value.strip() == "*":
        return None
    revision = revision_in(value.strip())
    if revision is None:
        message = 'This must be one ETag as it was answered, such as "2", or *.'
        raise PydanticCustomError("if_match", message)
    return revision


KeyHeader = Annotated[
    Annotated[str, BeforeValidator(_key_in), WithJsonSchema(_KEY_SCHEMA)] | None,
    Header(
        alias=IDEMPOTENCY_KEY,
        description="A string of the caller's choice, 1 to 255 printable ASCII characters. The "
        "same call sent again with the same key is carried out once, and answered as the first "
        "time; another call with that key is refused. Keys belong to the token's user. Without a "
        "token, a key must be a UUID.",
        examples=[f'"{EXAMPLE_ID}"'],
    ),
]

RevisionHeader = Annotated[
    Annotated[
        int | None,
        BeforeValidator(_revision_in),
        WithJsonSchema({"type": "string", "pattern": rf"^(\*|{ETAG_PATTERN})$"}),
    ],
    Header(
        alias="If-Match",
        description="The `etag` of the request as it was shown to whoever decides, or `*`.",
        examples=['"2"'],
    ),
]


class LoanRequestAnswer(BaseModel):
    """How a loan request stands."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": EXAMPLE_ID,
                    "status": "under_review",
                    "link": f"https://loans.example.com/loans/{EXAMPLE_ID}/",
                    "position": 4711,
                }
            ]
        }
    )

    id: UUID
    status: Annotated[Status, WithJsonSchema({"type": "string", "enum": _STATUSES})]
    link: str = Field(description="The page that shows the applicant how the request stands.")
    position: int = Field(
        description="The commit position of the last event recorded for this request. Whoever "
        "asks how it stands with `after` set to it is answered from there on."
    )


def key_of(request: ApiRequest, value: str | None) -> IdempotencyKey | None:
    """The caller's key, if one was sent.

    Raises:
        Problem: a caller whom nobody knows has one that others may think of too.
    """
    if value is None:
        return None
    if request.auth.user is None and not _is_uuid(value):
        message = "Without a token this must be a UUID, since others could use the same key."
        raise _bad_key(message)
    return IdempotencyKey(request.auth.name, value)


def use_key(
    request: HttpRequest, key: IdempotencyKey | None, body: BaseModel, *, loan_request_id: UUID
) -> None:
    """Have the key, if there is one, stand for this call.

    To be called when nothing is wrong with the call, so that a call that is refused for what it
    says leaves the key as it was.

    Raises:
        Problem: it stands for another call, or the event store is away.
    """
    if key is None:
        return
    # Fields that a later version may add do not make an older call another one.
    text = json.dumps(body.model_dump(mode="json", exclude_defaults=True), sort_keys=True)
    call = (str(request.method), request.path, text)
    try:
        idempotency_keys().use(key, *call, loan_request_id=loan_request_id, now=timezone.now())
    except KeyUsedOtherwise:
        raise _bad_key("This key was used for another call.") from None
    except EventStoreUnavailable:
        raise _not_recorded() from None


def carry_out(use_case: Callable[[], Answer]) -> Answer:
    """Call a use case, and turn what it refuses into problems.

    Raises:
        Problem: it cannot be done, now or at all.
    """
    try:
        return use_case()
    except IdAlreadyUsed as rejection:
        errors = [FieldError(field="id", message=str(rejection))]
        raise Problem(HTTPStatus.CONFLICT, str(rejection), errors=errors) from None
    except UnknownLoanRequest as rejection:
        raise Problem(HTTPStatus.NOT_FOUND, str(rejection)) from None
    except OutOfDate as rejection:
        headers = {"ETag": etag(rejection.revision)}
        raise Problem(HTTPStatus.PRECONDITION_FAILED, str(rejection), headers=headers) from None
    except Rejection as rejection:
        raise Problem(HTTPStatus.CONFLICT, str(rejection)) from None
    except (EventStoreUnavailable, StaleRevision):
        raise _not_recorded() from None


def answered(request: HttpRequest, response: HttpResponse, answer: Answer) -> LoanRequestAnswer:
    """The body of an answer, whose `ETag` goes into the response."""
    response["ETag"] = etag(answer.revision)
    link = request.build_absolute_uri(resolve_url("readmodels:status", answer.loan_request_id))
    return LoanRequestAnswer(
        id=answer.loan_request_id, status=answer.status, link=link, position=answer.position
    )


def _is_uuid(value: str) -> bool:
    try:
        UUID(value)
    except ValueError:
        return False
    return True


def _bad_key(message: str) -> Problem:
    errors = [FieldError(field=IDEMPOTENCY_KEY, message=message)]
    detail = "Some values cannot be used."
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail, errors=errors)


def _not_recorded() -> Problem:
    return unavailable(
        "It could not be recorded. Please send it again, with the same id or Idempotency-Key."
    )
