"""The API's OpenAPI document, with what ninja leaves out.

Ninja leaves out the media type of problem documents, response headers, and scopes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, Final

from django.http import HttpResponse
from django.urls import URLPattern, URLResolver
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe
from ninja import NinjaAPI
from ninja.errors import ValidationErrorContext
from ninja.openapi.schema import OpenAPISchema
from ninja.operation import Operation
from pydantic import BaseModel

from lepret.api.auth import Bearer
from lepret.api.bodies import JSON, StrictParser, only_json
from lepret.api.problems import (
    CONTENT_TYPE,
    FieldError,
    InvalidCall,
    ProblemDocument,
    title_of,
)

Description = dict[str, Any]

DESCRIPTION: Final = """\
Apply for a loan, see how the request stands, and, with an underwriter's token, decide.

**Errors** are problem documents (RFC 9457); where a value is at fault, `errors` names it. All
answers are JSON, whatever `Accept` asks for.

**Sent again**, after a lost answer, each command is carried out once and answered as the first
time: name it with an `id` or an `Idempotency-Key`.

**Decisions** are made on what was shown: send its `etag` as `If-Match`. What has changed since then
is answered with 412, what someone else has decided with 409.

**Claims** keep others from working on a request, for a time. Nobody has to claim what they decide,
but decides nothing that somebody else holds. A claim that is sent again changes nothing more.

**Too many calls** are answered with 429, and `Retry-After` says when the next one is welcome.
"""
TAGS: Final = [
    {"name": "Loan requests", "description": "For applicants and those who apply for them."},
    {"name": "Underwriting", "description": "For underwriters' tools, with a token."},
    {"name": "Lending policy", "description": "The rules that decide, with a token."},
]

# The loan request in all examples.
EXAMPLE_ID: Final = "b9e84a3c-7a5c-4d7d-9d0f-2f6d7a1c5e11"
EXAMPLE_STATUS: Final[dict[str, Any]] = {
    "id": EXAMPLE_ID,
    "status": "under_review",
    "amount": 5000,
    "currency": "GBP",
    "link": f"https://loans.example.com/loans/{EXAMPLE_ID}/",
    "reasons": [],
    "explanation": "An underwriter looks at it because the score was 6 and policy 3 leaves 5 to 6 "
    "to people.",
    "awaiting": None,
}


CURRENCY: Final = "The currency of the amount, by its ISO 4217 code: the same for all requests."


REASONS: Final = "Why a request was denied; empty otherwise, and where no reason was given."
EXPLANATION: Final = (
    "Why the request was decided, or is looked at, as it is: one sentence. Null where there is "
    "nothing to explain yet."
)
CLAIMED_BY: Final = "The username of who works on it alone; null where nobody does now."
CLAIMED_UNTIL: Final = "Until when, unless that is renewed or ends before."
AWAITING: Final = "Whose opinion it takes to decide, where an underwriter has said something."


class InWords(BaseModel):
    """A code of the lending policy, and what it is in words."""

    code: str
    text: str


def header(description: str, example: str) -> Description:
    """A response header that is a string."""
    return {"description": description, "schema": {"type": "string"}, "example": example}


ETAG: Final = {
    "ETag": header("The request's revision, to be sent as `If-Match` with a decision.", '"2"')
}
_CHALLENGE: Final = {
    "WWW-Authenticate": header("What is wrong with the token (RFC 6750).", 'Bearer realm="lepret"')
}
_TAKEN: Final = {
    "Accept": header("The type that is taken, if it was another one (RFC 9110).", JSON),
    "Accept-Encoding": header("What is taken, if the body was compressed.", "identity"),
}
_RETRY_AFTER: Final = {"Retry-After": header("When to try again, in seconds.", "10")}

_HEADERS: Final[Mapping[int, Description]] = {
    HTTPStatus.UNAUTHORIZED: _CHALLENGE,
    HTTPStatus.FORBIDDEN: _CHALLENGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: _TAKEN,
    HTTPStatus.TOO_MANY_REQUESTS: _RETRY_AFTER,
    HTTPStatus.SERVICE_UNAVAILABLE: _RETRY_AFTER,
}
_MEANINGS: Final[Mapping[int, str]] = {
    HTTPStatus.BAD_REQUEST: "The request, or its body, cannot be read.",
    HTTPStatus.UNAUTHORIZED: "There is no token, or none that is good.",
    HTTPStatus.FORBIDDEN: "The token has not the scope, or its user is not an underwriter.",
    HTTPStatus.NOT_FOUND: "There is no loan request with this id.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "The body is too large.",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "The body is not sent as JSON, or is sent compressed.",
    HTTPStatus.UNPROCESSABLE_ENTITY: "Some values cannot be used: `errors` names each, and why.",
    HTTPStatus.TOO_MANY_REQUESTS: "Too many calls of this caller.",
    HTTPStatus.INTERNAL_SERVER_ERROR: "Something went wrong here.",
    HTTPStatus.SERVICE_UNAVAILABLE: "Something that is needed is away. Nothing is lost: send it "
    "again.",
}
_DETAILS: Final[Mapping[int, str]] = {
    HTTPStatus.CONFLICT: "Already approved by uma on 23 November 2026 at 09:30:00 UTC.",
    HTTPStatus.GONE: "The record of this loan request was deleted.",
    HTTPStatus.PRECONDITION_FAILED: "This loan request has changed since it was shown.",
    HTTPStatus.UNPROCESSABLE_ENTITY: "Some values cannot be used.",
    HTTPStatus.PRECONDITION_REQUIRED: "Send the ETag that was shown as If-Match.",
}
_FIELD_ERROR: Final = FieldError(field="amount", message="An amount is at least 1.")


View = Callable[..., HttpResponse]


def _only_read(view: View) -> View:
    """The document and its page, which ninja also shows in answer to POST."""
    read: View = csrf_exempt(require_safe(view))
    return read


class DocumentedApi(NinjaAPI):
    """An API with a complete OpenAPI document, which takes bodies in JSON only."""

    def __init__(self, **options: Any) -> None:
        super().__init__(parser=StrictParser(), docs_decorator=_only_read, **options)
        self.add_decorator(only_json, mode="view")

    @property
    def urls(self) -> tuple[list[URLResolver | URLPattern], str, str]:
        patterns, application, namespace = super().urls
        for each in patterns:
            if isinstance(each, URLPattern) and each.name == "api-root":
                # 404 for POST too. Not by the decorator: ninja looks for its own function here.
                vars(each.callback)["csrf_exempt"] = True
        return patterns, application, namespace

    def validation_error_from_error_contexts(
        self, error_contexts: list[ValidationErrorContext[Any]]
    ) -> InvalidCall:
        return InvalidCall.of(error_contexts)

    def get_openapi_schema(
        self, *, path_prefix: str | None = None, path_params: dict[str, Any] | None = None
    ) -> OpenAPISchema:
        if path_prefix is None:
            path_prefix = self.get_root_path(path_params or {})
        return _Document(self, path_prefix)


class _Document(OpenAPISchema):
    def methods(self, operations: list[Operation]) -> dict[str, Description]:
        # HEAD goes without saying, and would have the name of its GET.
        described: dict[str, Description] = super().methods(operations)
        return {method: each for method, each in described.items() if method != "head"}

    def responses(self, operation: Operation) -> dict[int, Description]:
        answers = sorted(super().responses(operation).items())
        return {status: _completed(status, each) for status, each in answers}

    def operation_parameters(self, operation: Operation) -> list[Description]:
        parameters = super().operation_parameters(operation)
        return [_with_named_examples(_without_null(each)) for each in parameters]

    def operation_security(self, operation: Operation) -> list[Description] | None:
        callbacks = [each for each in operation.auth_callbacks if isinstance(each, Bearer)]
        for each in callbacks:
            self.securitySchemes[type(each).__name__] = each.openapi_security_schema
        return [way for each in callbacks for way in _alternatives(each)]


def _alternatives(bearer: Bearer) -> list[Description]:
    with_token = {type(bearer).__name__: [bearer.scope.value] if bearer.scope else []}
    return [with_token] if bearer.is_needed else [with_token, {}]


def _without_null(parameter: Description) -> Description:
    # An optional parameter can be left out, but a header or a query parameter cannot be null.
    schema = dict(parameter["schema"])
    for each in schema.pop("anyOf", ()):
        if each != {"type": "null"}:
            schema.update(each)
    return {**parameter, "schema": schema}


def _with_named_examples(parameter: Description) -> Description:
    # Those of a schema are a list; those of a parameter have names (OpenAPI 3.1, section 4.8.12).
    if "examples" not in parameter:
        return parameter
    named = {f"example {n}": {"value": each} for n, each in enumerate(parameter["examples"], 1)}
    return {**parameter, "examples": named}


def _completed(status: int, answer: Description) -> Description:
    answer["description"] = _MEANINGS.get(status, answer["description"])
    if status in _HEADERS:
        answer["headers"] = dict(_HEADERS[status])
    if status >= HTTPStatus.BAD_REQUEST:
        (schema,) = answer["content"].values()
        answer["content"] = {CONTENT_TYPE: {**schema, "example": _example(status)}}
    return answer


def _example(status: int) -> Description:
    detail = _DETAILS.get(status, _MEANINGS.get(status, ""))
    errors = [_FIELD_ERROR] if status == HTTPStatus.UNPROCESSABLE_ENTITY else []
    example = ProblemDocument(title=title_of(status), status=status, detail=detail, errors=errors)
    return example.model_dump()
