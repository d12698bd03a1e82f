"""The bodies of the API's calls: JSON (RFC 8259), sent as such, and nothing else.

A browser sends other types from any site without asking first. JSON it sends to another site only
if that site allows it: https://fetch.spec.whatwg.org/#cors-safelisted-request-header
"""

from __future__ import annotations

import codecs
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from http import HTTPStatus
from itertools import islice
from typing import Any, Final, NoReturn

from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse
from django.utils.datastructures import MultiValueDict
from ninja.parser import Parser
from pydantic import BaseModel, ConfigDict, model_validator

from lepret.api.problems import FieldError, Problem
from lepret.common.content_codings import ACCEPT_ENCODING, is_encoded
from lepret.common.input_errors import MOST_ERRORS, shortened

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
        if request.body.startswith(codecs.BOM_UTF8):
            raise _unreadable("It begins with a byte-order mark, which JSON does not have.")
        try:
            body: dict[str, Any] = json.loads(
                request.body.decode(), object_pairs_hook=_object_of, parse_constant=_refuse_constant
            )
        except UnicodeDecodeError:
            raise _unreadable("It is not in UTF-8.") from None
        except json.JSONDecodeError as error:
            where = f"line {error.lineno}, column {error.colno}"
            raise _unreadable(f"It is no JSON: look at {where}.") from None
        except RecursionError:
            raise _unreadable("It is nested too deeply.") from None
        except ValueError:  # More digits than Python reads.
            raise _unreadable("A number in it has too many digits.") from None
        return body

    def parse_querydict(
        self, data: MultiValueDict[str, Any], list_fields: list[str], request: HttpRequest
    ) -> dict[str, Any]:
        twice = [
            name for name, values in data.lists() if len(values) > 1 and name not in list_fields
        ]
        if twice:
            status = HTTPStatus.UNPROCESSABLE_ENTITY
            raise Problem(status, "Some values cannot be used.", errors=_given_twice(twice))
        values: dict[str, Any] = super().parse_querydict(data, list_fields, request)
        return values


def only_json(run: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Answer 415 (RFC 9110, section 15.5.16) to a call with a body that is not sent as JSON.

    Nor is a body that is sent compressed.
    """

    @wraps(run)
    def checked(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if request.method in _WITHOUT_A_BODY or _is_empty(request):
            return run(request, *args, **kwargs)
        if is_encoded(request):
            detail = "Send the body uncompressed, without `Content-Encoding`."
            return _unsupported(detail, ACCEPT_ENCODING)
        if not _is_json(request):
            detail = f"Send the body as JSON in UTF-8, with `Content-Type: {JSON}`."
            return _unsupported(detail, {"Accept": JSON})
        return run(request, *args, **kwargs)

    return checked


def _unsupported(detail: str, headers: Mapping[str, str]) -> HttpResponse:
    return Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail, headers=headers).response()


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
        times = Counter(name for name, _ in pairs)
        twice = [name for name in times if times[name] > 1]
        raise _unreadable("It has two fields of the same name.", _given_twice(twice))
    return members


def _refuse_constant(name: str) -> NoReturn:
    raise _unreadable(f"It is no JSON: {name} is no number there.")


def _unreadable(why: str, errors: Sequence[FieldError] = ()) -> Problem:
    detail = f"The body cannot be read. {why}"
    return Problem(HTTPStatus.BAD_REQUEST, detail, errors=errors)


def _given_twice(names: Sequence[str]) -> list[FieldError]:
    message = "This must not be given more than once."
    return [FieldError(field=shortened(name), message=message) for name in names[:MOST_ERRORS]]
