"""The one question that is answered in HTTP/1.1: whether the server is alive, as EventStoreDB does.

Supervisors, load balancers and `curl` ask it; everything else is gRPC.
"""

import re

MAX_REQUEST = 8 * 1024
"""Bytes of a request's line and headers."""

_METHODS = (b"GET ", b"HEAD ")
_LIVE = re.compile(rb"\w+ /health/live(\?\S*)? HTTP/1\.[01]\r\n")
_ANSWER = b"HTTP/1.1 %b\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_IS_LIVE = _ANSWER % b"204 No Content"
_NOT_FOUND = _ANSWER % b"404 Not Found"
_TOO_LARGE = _ANSWER % b"431 Request Header Fields Too Large"


def is_http1(received: bytes | bytearray) -> bool:
    """Whether a connection begins, as far as is known, with a request that is answered here."""
    return any(received.startswith(each[: len(received)]) for each in _METHODS)


def answer_to(received: bytes | bytearray) -> bytes:
    """The answer, after which the connection ends; empty while the rest of the request is missing.

    It repeats nothing of the request.
    """
    if len(received) > MAX_REQUEST:
        return _TOO_LARGE
    if b"\r\n\r\n" not in received:
        return b""
    return _IS_LIVE if _LIVE.match(received) else _NOT_FOUND
