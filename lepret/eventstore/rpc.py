"""What a service sees of a gRPC call, whatever carries it."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from enum import IntEnum
from typing import Protocol


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

    ``trailers`` carry what some clients read in place of the text, such as
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
    """The refusal of a request that no state of the log could make right."""
    return Refusal(StatusCode.INVALID_ARGUMENT, details)


class Call(Protocol):
    """One call: serialised messages in, serialised messages out."""

    def header(self, name: str) -> str:
        """What the client says of itself or the call under that name; empty when it does not."""

    @property
    def has_more(self) -> bool:
        """Whether more of the client's messages have arrived already."""

    def requests(self) -> AsyncIterator[bytes]:
        """The client's messages, until it has no more."""

    async def send(self, messages: Sequence[bytes]) -> None:
        """Send messages in order; returns once there is room for more.

        A slow reader therefore holds up its own call and nothing else.
        """


Handler = Callable[[Call], Awaitable[None]]
Methods = Mapping[str, Handler]
"""Handlers by the method's path, such as ``/package.Service/Method``."""


async def only_request(call: Call) -> bytes:
    """The one message of a call whose client sends exactly one.

    Raises Refusal (INVALID_ARGUMENT) when there is none.
    """
    async for request in call.requests():
        return request
    raise bad_request("The request is missing.")
