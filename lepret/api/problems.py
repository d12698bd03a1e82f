"""Errors of the JSON API as problem+json (RFC 9457), which names the fields at fault."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from typing import Any, Final

from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.views import defaults
from ninja import NinjaAPI
from ninja.errors import HttpError, ValidationError, ValidationErrorContext
from pydantic import BaseModel, Field

from lepret.common.api_calls import is_call
from lepret.common.databases import is_away
from lepret.common.error_places import type_and_place
from lepret.common.input_errors import MOST_ERRORS, describe, shortened

logger = logging.getLogger(__name__)

CONTENT_TYPE: Final = "application/problem+json"


class FieldError(BaseModel):
    """What is wrong with one field of the body, the path, the query, or the headers."""

    field: str
    message: str


class ProblemDocument(BaseModel):
    """The body of every error (RFC 9457)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: list[FieldError] = Field(default_factory=list)


# Any call may be answered with these: unreadable, bad token, too many calls, a bug, an outage.
_ANY_CALL: Final = frozenset({400, 401, 429, 500, 503})


# The titles of RFC 9110; Python has older ones before version 3.13.
_TITLES: Final[Mapping[int, str]] = {
    413: "Content Too Large",
    414: "URI Too Long",
    422: "Unprocessable Content",
}


def title_of(status: int) -> str:
    """The reason phrase of a status."""
    return _TITLES.get(status) or HTTPStatus(status).phrase


def problems(*statuses: int) -> dict[frozenset[int], type[ProblemDocument]]:
    """For an operation's `response`: these error statuses, and those of all operations."""
    return {_ANY_CALL.union(statuses): ProblemDocument}


class Problem(Exception):
    """An error answer of the API; `headers` are sent with it."""

    def __init__(
        self,
        status: HTTPStatus,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = list(errors)
        self.headers = dict(headers or {})

    def response(self) -> HttpResponse:
        """The problem as a response."""
        document = ProblemDocument(
            title=title_of(self.status),
            status=self.status.value,
            detail=self.detail,
            errors=self.errors,
        )
        return JsonResponse(
            document.model_dump(),
            status=self.status.value,
            headers=self.headers,
            content_type=CONTENT_TYPE,
        )


# For each type of exception, the function that turns it into a problem.
ProblemMakers = Mapping[type[Exception], Callable[[Any], Problem]]


def not_found() -> Problem:
    """404 for an address or an id that does not exist."""
    return Problem(HTTPStatus.NOT_FOUND, "There is nothing at this address.")


def unavailable(detail: str) -> Problem:
    """503: something that is needed is down. Says when to try again."""
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers={"Retry-After": "10"})


class InvalidCall(ValidationError):
    """Values of a call that cannot be used: `total` errors, of which it has the first ones."""

    def __init__(self, errors: list[dict[str, Any]], total: int) -> None:
        super().__init__(errors)
        self.total = total

    @classmethod
    def of(cls, contexts: Sequence[ValidationErrorContext[Any]]) -> InvalidCall:
        """From what ninja has found; as ninja makes its own error of it, but bounded."""
        errors = [
            {**each, "loc": _location(context.model, each["loc"])}
            for context in contexts
            for each in _errors_of(context)[:MOST_ERRORS]
        ]
        return cls(errors, sum(_errors_in(context) for context in contexts))


def _errors_of(context: ValidationErrorContext[Any]) -> list[Any]:
    error = context.pydantic_validation_error
    return error.errors(include_url=False, include_context=False, include_input=False)


def _errors_in(context: ValidationErrorContext[Any]) -> int:
    return context.pydantic_validation_error.error_count()


def _location(model: Any, location: tuple[int | str, ...]) -> tuple[int | str, ...]:
    return (
        model.__ninja_param_source__,
        *model.__ninja_flatten_map_reverse__.get(location, location),
    )


def _invalid(error: ValidationError) -> Problem:
    if any(_is_missing_condition(each) for each in error.errors):
        # RFC 6585, section 3.
        detail = "Send the ETag that was shown as If-Match, or * to decide whatever it is now."
        return Problem(HTTPStatus.PRECONDITION_REQUIRED, detail)
    if any(_is_about_the_document(each) for each in error.errors):
        return Problem(HTTPStatus.BAD_REQUEST, "The body must be a JSON object.")
    errors = [
        FieldError(field=shortened(_field_at(each["loc"])), message=describe(each))
        for each in error.errors[:MOST_ERRORS]
    ]
    detail = "Some values cannot be used."
    total = error.total if isinstance(error, InvalidCall) else len(error.errors)
    if total > len(errors):
        detail += f" There are more errors than these {len(errors)}."
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail, errors=errors)


def _field_at(location: tuple[int | str, ...]) -> str:
    """The field's name. In a list, the number of an item comes after it."""
    return next(part for part in reversed(location) if isinstance(part, str))


def _is_about_the_document(error: Mapping[str, Any]) -> bool:
    # ("body", parameter) is the document as a whole, ("body", parameter, field) one of its fields.
    match error["loc"]:
        case ("body",) | ("body", _):
            return True
    return False


def _is_missing_condition(error: Mapping[str, Any]) -> bool:
    return (error["type"], error["loc"]) == ("missing", ("header", "If-Match"))


def _http_error(error: HttpError) -> Problem:
    if isinstance(error.__cause__, Problem):  # of `lepret.api.bodies`; ninja wraps it
        return error.__cause__
    return Problem(HTTPStatus(error.status_code), f"{str(error).rstrip('.')}.")


def database_away(error: BaseException) -> Problem:
    """503 for an error of a database that is away. Logs it."""
    logger.warning("The database is away (%s)", type_and_place(error))
    return unavailable("The database does not answer at the moment.")


def _unexpected(error: Exception) -> Problem:
    if is_away(error):
        return database_away(error)
    logger.error("The API failed: %s", type_and_place(error))
    return Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "Something went wrong here.")


_PROBLEMS: Final[ProblemMakers] = {
    Problem: lambda problem: problem,
    ValidationError: _invalid,
    HttpError: _http_error,
    Http404: lambda _: not_found(),
    SuspiciousOperation: lambda _: Problem(
        HTTPStatus.BAD_REQUEST, "The request is not valid: it has too many parameters."
    ),
    RequestDataTooBig: lambda _: Problem(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The body is too large."
    ),
    Exception: _unexpected,
}


def answer_with_problems(api: NinjaAPI, *more: ProblemMakers) -> None:
    """Make `api` answer every exception with a problem document; `more` are the routers' own."""
    for makers in (_PROBLEMS, *more):
        for kind, make in makers.items():
            api.add_exception_handler(kind, partial(_answer, make))


def _answer(make: Callable[[Any], Problem], request: HttpRequest, error: Any) -> HttpResponse:
    return make(error).response()


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """404 for an unknown address: a problem document under `/api/`, otherwise a page."""
    if is_call(request.path):
        return not_found().response()
    return defaults.page_not_found(request, exception)
