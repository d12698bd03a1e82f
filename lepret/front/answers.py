"""The answers of the front, to requests that Django never sees."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from http import HTTPStatus
from typing import Final

from lepret.api.problems import CONTENT_TYPE, ProblemDocument, title_of
from lepret.common.answer_headers import headers_of_any_answer
from lepret.front.targets import Asked

_PAGE: Final = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>{title}</title></head>
<body><h1>{title}</h1><p>{detail}</p></body>
</html>
"""


@dataclass(frozen=True)
class Refusal:
    """An error answer, after which the connection is closed; `retry_after` is in seconds."""

    status: HTTPStatus
    detail: str
    retry_after: int | None = None

    def headers(self) -> Iterator[tuple[str, str]]:
        """The headers that do not depend on the address that was asked for."""
        for name, value in headers_of_any_answer():
            yield name.decode(), value.decode()
        yield "Connection", "close"
        if self.retry_after is not None:
            yield "Retry-After", str(self.retry_after)

    def as_bytes(self, asked: Asked) -> bytes:
        """The whole answer: under `/api/` a problem document, otherwise a page."""
        title = title_of(self.status)
        if asked.target.is_call:
            content_type = CONTENT_TYPE
            document = ProblemDocument(title=title, status=self.status, detail=self.detail)
            body = document.model_dump_json().encode()
        else:
            content_type = "text/html; charset=utf-8"
            body = _PAGE.format(title=escape(title), detail=escape(self.detail)).encode()
        lines = [
            f"HTTP/1.1 {self.status.value} {title}",
            f"Content-Type: {content_type}",
            f"Content-Length: {len(body)}",
            *(f"{name}: {value}" for name, value in self.headers()),
        ]
        head = "\r\n".join(lines).encode() + b"\r\n\r\n"
        return head if asked.method == b"HEAD" else head + body


BAD_REQUEST: Final = Refusal(HTTPStatus.BAD_REQUEST, "The request is not valid HTTP.")
BODY_TOO_LARGE: Final = Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The body is too large.")
TARGET_TOO_LONG: Final = Refusal(HTTPStatus.REQUEST_URI_TOO_LONG, "The address is too long.")
HEADERS_TOO_LARGE: Final = Refusal(
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "The headers are too many or too large."
)
TOO_SLOW: Final = Refusal(HTTPStatus.REQUEST_TIMEOUT, "The request was not complete in time.")
TOO_MANY_CONNECTIONS: Final = Refusal(
    HTTPStatus.SERVICE_UNAVAILABLE, "There are too many connections.", retry_after=10
)
TOO_MANY_SOCKETS: Final = Refusal(
    HTTPStatus.TOO_MANY_REQUESTS, "Too many pages are open at this address.", retry_after=10
)
TOO_MANY_WAITING: Final = Refusal(
    HTTPStatus.TOO_MANY_REQUESTS, "Too many requests of this address are waiting.", retry_after=5
)
WAITED_TOO_LONG: Final = Refusal(
    HTTPStatus.SERVICE_UNAVAILABLE, "There is too much to do at the moment.", retry_after=5
)
