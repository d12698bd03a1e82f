"""A gRPC call as a service sees it, independent of the transport."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from enum import IntEnum
from typing import Protocol

REQUEST_WITHIN = 30.0
"""Seconds until the only request of a call must have arrived."""


class StatusCode(IntEnum):
    """The gRPC status codes that this server answers with."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14


class Refusal(Exception):
    """Ends a call with a status other than OK.

    Some clients read ``trailers`` instead of the text, such as
    ``("exception", "wrong-expected-version")``.
    """

    def __init__(
        self, status: StatusCode, details: str, trailers: Sequence[tuple[str, str]] = ()
    ) -> None:
        super().__init__(details)
        self.status = status
        self.details = details
        self.trailers = tuple(trailers)


def bad_request(details: str) -> Refusal:
    """The refusal of an invalid request."""
    return Refusal(StatusCode.INVALID_ARGUMENT, details)


def handler_failed(reason: str) -> Refusal:
    """The refusal of a request that makes EventStoreDB's handler throw."""
    return Refusal(StatusCode.UNKNOWN, f"Exception was thrown by handler. {reason}")


class Call(Protocol):
    """One call: serialised messages in, serialised messages out."""

    def header(self, name: str) -> str:
        """The value of a request header; empty if the client did not send it."""

    @property
    def has_more(self) -> bool:
        """Whether more messages from the client have already arrived."""

    def requests(self) -> AsyncIterator[bytes]:
        """The client's messages, until it has no more."""

    async def send(self, messages: Sequence[bytes]) -> None:
        """Send messages in order; returns when there is room for more.

        A slow client therefore slows down only its own call.
        """


Handler = Callable[[Call], Awaitable[None]]
Methods = Mapping[str, Handler]
"""Handlers by path, such as ``/package.Service/Method``."""


async def only_request(call: Call) -> bytes:
    """The request of a call in which the client sends exactly one.

    Raises Refusal (INVALID_ARGUMENT) when there is none, or DEADLINE_EXCEEDED.
    """
    try:
        async with asyncio.timeout(REQUEST_WITHIN):
            async for request in call.requests():
                return request
    except TimeoutError:
        raise Refusal(StatusCode.DEADLINE_EXCEEDED, "The request did not arrive in time.") from None
    raise bad_request("The request is missing.")


def place_of(error: BaseException) -> str:
    """The type of an error and the line that raised it, without its text: clients' data."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    if traceback is None:
        return type(error).__name__
    code = traceback.tb_frame.f_code
    return f"{type(error).__name__} in {code.co_qualname}, line {traceback.tb_lineno}"
