"""The bodies of the API's calls: JSON (RFC 8259), sent as such, and nothing else.

A browser sends other types from any site without asking first. JSON it sends to another site only
if that site allows it: https://fetch.spec.whatwg.org/#cors-safelisted-request-header
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable
from functools import wraps
from http import HTTPStatus
from itertools import islice
from typing import Any, Final, NoReturn

from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse
from ninja.parser import Parser
from pydantic import BaseModel, ConfigDict, model_validator

from lepret.api.problems import Problem
from lepret.common.input_errors import MOST_ERRORS

JSON: Final = "application/json"
_WITHOUT_A_BODY: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class StrictBody(BaseModel):
    """A call's body: the fields of the model, and no others."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _without_most_unknown_fields(cls, body: Any) -> Any:
        """Leave only as many unknown fields as are named in the answer, and one more.

        Pydantic makes an error of each, and no other thread runs meanwhile.
        """
        if not isinstance(body, dict):
            return body
        unknown = (name for name in body if name not in cls.model_fields)
        few = frozenset(islice(unknown, MOST_ERRORS + 1))
        return {
            name: value for name, value in body.items() if name in cls.model_fields or name in few
        }


class StrictParser(Parser):
    """Refuses what is not JSON in UTF-8, and what two readers may understand differently."""

    def parse_body(self, request: HttpRequest) -> dict[str, Any]:
        try:
            body: dict[str, Any] = json.loads(
                request.body.decode(), object_pairs_hook=_object_of, parse_constant=_refuse_constant
            )
        except (ValueError, RecursionError):  # RecursionError: it is nested too deeply
            raise Problem(HTTPStatus.BAD_REQUEST, "The body is no JSON in UTF-8.") from None
        return body


def only_json(run: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Answer 415 (RFC 9110, section 15.5.16) to a call with a body that is not sent as JSON."""

    @wraps(run)
    def checked(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if request.method in _WITHOUT_A_BODY or _is_json(request) or _is_empty(request):
            return run(request, *args, **kwargs)
        detail = f"Send the body as JSON in UTF-8, with `Content-Type: {JSON}`."
        return Problem(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail, headers={"Accept": JSON}
        ).response()

    return checked


def _is_json(request: HttpRequest) -> bool:
    charset = (request.content_params or {}).get("charset", "utf-8")
    return request.content_type == JSON and _is_utf8(charset)


def _is_utf8(charset: str) -> bool:
    try:
        return codecs.lookup(charset).name == "utf-8"
    except LookupError:
        return False


def _is_empty(request: HttpRequest) -> bool:
    try:
        return not (request.content_type or request.body)
    except RequestDataTooBig:
        return False


def _object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        # RFC 8259, section 4: readers differ in which of the values they take.
        raise Problem(HTTPStatus.BAD_REQUEST, "The body has two fields of the same name.")
    return members


def _refuse_constant(name: str) -> NoReturn:
    raise Problem(HTTPStatus.BAD_REQUEST, f"The body is no JSON: {name} is no number there.")
