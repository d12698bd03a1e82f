"""Errors of the JSON API as problem+json (RFC 9457), with the field that each is about."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from django.core.exceptions import RequestDataTooBig
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from ninja import NinjaAPI
from ninja.errors import HttpError, ValidationError
from pydantic import BaseModel, Field

from lepret.input_errors import describe

logger = logging.getLogger(__name__)

CONTENT_TYPE: Final = "application/problem+json"


class FieldError(BaseModel):
    """What is wrong with one field of the body, the path, or the headers."""

    field: str
    message: str


class ProblemDocument(BaseModel):
    """The body of every error."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: list[FieldError] = Field(default_factory=list)


class Problem(Exception):
    """An error that the API answers with; `headers` such as `Retry-After` go along."""

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
            title=self.status.phrase,
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


def answer_with_problems(api: NinjaAPI) -> None:
    """Make `api` answer every error, its own and the framework's, with a problem document."""
    for kind in (Problem, ValidationError, HttpError, Http404, RequestDataTooBig, Exception):
        api.add_exception_handler(kind, _answer)


def not_found() -> Problem:
    """The problem for an address or an id that there is not."""
    return Problem(HTTPStatus.NOT_FOUND, "There is nothing at this address.")


def _answer(request: HttpRequest, error: Any) -> HttpResponse:
    match error:
        case Problem():
            return error.response()
        case ValidationError():
            return _invalid(error).response()
        case HttpError():
            return _http_error(error).response()
        case Http404():
            return not_found().response()
        case RequestDataTooBig():
            return Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The body is too large.").response()
        case OperationalError() | InterfaceError():
            return _database_away(error).response()
        case _:
            return _unexpected(request, error)


def _invalid(error: ValidationError) -> Problem:
    if any(_is_about_the_document(each) for each in error.errors):
        return Problem(HTTPStatus.BAD_REQUEST, "The body must be a JSON object.")
    errors = [
        FieldError(field=str(each["loc"][-1]), message=describe(each)) for each in error.errors
    ]
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "Some values cannot be used.", errors=errors)


def _is_about_the_document(error: Mapping[str, Any]) -> bool:
    # ("body", parameter) is the document as a whole, ("body", parameter, field) one of its fields.
    match error["loc"]:
        case ("body",) | ("body", _):
            return True
    return False


def _http_error(error: HttpError) -> Problem:
    return Problem(HTTPStatus(error.status_code), f"{error}.")


def _database_away(error: Exception) -> Problem:
    logger.warning("The database is away (%s)", type(error).__qualname__)
    detail = "The database does not answer at the moment."
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers={"Retry-After": "10"})


def _unexpected(request: HttpRequest, error: Exception) -> HttpResponse:
    # Neither the message nor the stack's values: both may hold an applicant's data.
    logger.error("%s %s failed: %s", request.method, request.path, type(error).__qualname__)
    return Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "Something went wrong here.").response()
