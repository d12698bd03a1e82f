"""gRPC over HTTP/2: calls, their messages, deadlines and statuses."""

import asyncio
import logging
import re
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from email.utils import formatdate
from functools import lru_cache
from urllib.parse import quote

from lepret.eventstore.rpc import Call, Handler, Methods, Refusal, StatusCode, place_of
from lepret.eventstore.wire.http2.connection import (
    STREAM_WINDOW,
    Http2Stream,
    StreamLost,
    StreamOwner,
)
from lepret.eventstore.wire.http2.headers import Header, encode_headers
from lepret.eventstore.wire.memory import MemoryLimit

MAX_MESSAGE = 17 * 1024 * 1024
"""Bytes of one message from a client."""

MAX_RECEIVED = 64 * 1024 * 1024
"""Bytes from all clients that wait for the rest of their message, or for their handler."""

MAX_UNSENT = 64 * 1024 * 1024
"""Bytes of answers that wait for clients to read them."""

MESSAGE_WITHIN = 30.0
"""Seconds until a message that has begun must be complete."""

_CHECK_EVERY = 5.0
_CREDIT = STREAM_WINDOW // 4

_PREFIX = 5
_COMPRESSED = 1
_MAX_DETAILS = 1024
_PRINTABLE = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")
_SPACES_AT_THE_ENDS = re.compile("^ +| +$")
_TIMEOUT_UNITS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_LONGEST_TIMEOUT = 10 * 365 * 24 * 3600.0

_RESPONSE: tuple[Header, ...] = ((b":status", b"200"), (b"content-type", b"application/grpc"))
_OK_BLOCK = encode_headers([(b"grpc-status", b"0")])
_NOT_GRPC_BLOCK = encode_headers([(b":status", b"415")])

_NO_TIME_LEFT = 1e-3
"""Seconds. A client whose deadline has passed sends the shortest timeout there is."""

_TOO_LATE = Refusal(StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
_UNREAD = Refusal(StatusCode.RESOURCE_EXHAUSTED, "The client did not read the answer in time.")
_UNHANDLED = Refusal(StatusCode.RESOURCE_EXHAUSTED, "The server has too many requests in memory.")
_INCOMPLETE = Refusal(StatusCode.DEADLINE_EXCEEDED, "The message did not arrive in time.")

logger = logging.getLogger(__name__)


class GrpcCall:
    """One call: connects an HTTP/2 stream with a handler."""

    def __init__(
        self, stream: Http2Stream, headers: Mapping[bytes, bytes], memory: "CallMemory"
    ) -> None:
        self._stream = stream
        self._memory = memory
        self._headers = headers
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._ending: Refusal | None = None
        self._answering = False
        self._sending = asyncio.Lock()
        self._partial = bytearray()
        self._inbox: deque[bytes] = deque()
        self._inbox_size = 0
        self._uncredited = 0
        """Bytes received for which the client may not send others yet."""
        self._incomplete_since: float | None = None
        self._arrived = asyncio.Event()
        self._client_ended = False

    def start(self, handler: Handler, timeout: float | None) -> asyncio.Task[None]:
        """Run the handler, for at most ``timeout`` seconds."""
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(self._run(handler))
        self._task.add_done_callback(self._done)
        if timeout is not None:
            self._timer = loop.call_later(timeout, self.end, _TOO_LATE)
        return self._task

    def refuse(self, refusal: Refusal) -> None:
        """End the call without running the handler."""
        self._finish(refusal)

    def end(self, refusal: Refusal) -> None:
        """Cancel the handler and send the client this status."""
        if self._task is not None and not self._task.done() and self._ending is None:
            self._ending = refusal
            self._forget_received()
            self._task.cancel()

    def end_if_incomplete(self, since: float) -> None:
        """End the call if it has waited that long for the rest of a message."""
        if self._incomplete_since is not None and self._incomplete_since <= since:
            self.end(_INCOMPLETE)

    # For the handler (rpc.Call) -----------------------------------------------------

    def header(self, name: str) -> str:
        return self._headers.get(name.encode(), b"").decode(errors="replace")

    @property
    def has_more(self) -> bool:
        return bool(self._inbox)

    async def requests(self) -> AsyncIterator[bytes]:
        while True:
            while self._inbox:
                message = self._inbox.popleft()
                self._inbox_size -= _PREFIX + len(message)
                self._count_received()
                yield message
            if self._client_ended:
                return
            self._arrived.clear()
            await self._arrived.wait()

    async def send(self, messages: Sequence[bytes]) -> None:
        data = b"".join(
            part for message in messages for part in (len(message).to_bytes(_PREFIX), message)
        )
        async with self._sending:
            self._begin_answer()
            self._memory.unsent.hold(self, len(data))
            try:
                await self._stream.send_data(data)
            finally:
                self._memory.unsent.hold(self, 0)

    # For the stream (StreamOwner) ---------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._ending is not None or self._task is None:
            return
        self._uncredited += len(data)
        self._partial += data
        try:
            self._take_messages()
        except Refusal as refusal:
            self.end(refusal)
            return
        if not self._partial:
            self._incomplete_since = None
        elif self._incomplete_since is None:
            self._incomplete_since = time.monotonic()
        self._count_received()

    def end_received(self) -> None:
        self._client_ended = True
        self._arrived.set()
        if self._partial:
            self.end(Refusal(StatusCode.INVALID_ARGUMENT, "The last message is incomplete."))

    def lost(self) -> None:
        self._forget_received()
        if self._task is not None:
            self._task.cancel()

    # Private ------------------------------------------------------------------------

    def _take_messages(self) -> None:
        """Move complete messages to the inbox. Raises Refusal."""
        buffer = self._partial
        at = 0
        while len(buffer) - at >= _PREFIX:
            if buffer[at] & _COMPRESSED:
                raise Refusal(StatusCode.UNIMPLEMENTED, "Compression is not supported.")
            length = int.from_bytes(buffer[at + 1 : at + _PREFIX])
            if length > MAX_MESSAGE:
                raise Refusal(StatusCode.RESOURCE_EXHAUSTED, "The message is too large.")
            end = at + _PREFIX + length
            if end > len(buffer):
                break
            self._inbox.append(bytes(buffer[at + _PREFIX : end]))
            self._inbox_size += _PREFIX + length
            self._arrived.set()
            self._incomplete_since = None
            at = end
        del buffer[:at]

    def _count_received(self) -> None:
        """Let the client send more, but nothing for the messages that wait for the handler.

        The beginning of a message counts as consumed: the message may be larger than the window.
        """
        credit = self._uncredited - self._inbox_size
        if credit >= _CREDIT:
            self._uncredited -= credit
            self._stream.consumed(credit)
        self._memory.received.hold(self, self._inbox_size + len(self._partial))

    def _forget_received(self) -> None:
        self._partial.clear()
        self._inbox.clear()
        self._inbox_size = 0
        self._incomplete_since = None
        self._memory.received.hold(self, 0)

    def _begin_answer(self) -> None:
        if not self._answering:
            self._answering = True
            self._stream.send_headers(_response_block(int(time.time())))

    async def _run(self, handler: Handler) -> None:
        try:
            await handler(self)
        except StreamLost:
            return
        except Refusal as refusal:
            self._finish(refusal)
        except Exception as error:  # noqa: BLE001 - one call's failure must not affect others
            # Without its text, which may quote what a client sent.
            logger.error("a call failed: %s", place_of(error))
            self._finish(Refusal(StatusCode.INTERNAL, "The server failed to answer."))
        else:
            self._finish(None)

    def _done(self, task: asyncio.Task[None]) -> None:
        """Called when the task has ended, even if it was cancelled before it first ran."""
        self._forget_received()
        if self._timer is not None:
            self._timer.cancel()
        # Together with it go the frames in its traceback, and the page of events that they hold.
        self._task = None
        if task.cancelled() and self._ending is not None:
            self._finish(self._ending)

    def _finish(self, refusal: Refusal | None) -> None:
        if refusal is None:
            self._begin_answer()
            self._stream.send_headers(_OK_BLOCK, end=True)
            return
        trailers = _trailers(refusal)
        if not self._answering:
            trailers = [*_RESPONSE, *trailers]
        self._stream.send_headers(encode_headers(trailers), end=True)


class CallMemory:
    """What all calls together keep in memory."""

    def __init__(self, max_received: int = MAX_RECEIVED, max_unsent: int = MAX_UNSENT) -> None:
        self.received = MemoryLimit[GrpcCall](max_received, lambda call: call.end(_UNHANDLED))
        self.unsent = MemoryLimit[GrpcCall](max_unsent, lambda call: call.end(_UNREAD))


class GrpcServer:
    """The calls of all connections."""

    def __init__(self, methods: Methods) -> None:
        self._handlers = {path.encode(): handler for path, handler in methods.items()}
        self._calls: dict[asyncio.Task[None], GrpcCall] = {}
        self._memory = CallMemory()
        self._refusal: Refusal | None = None

    async def watch(
        self, message_within: float = MESSAGE_WITHIN, check_every: float = _CHECK_EVERY
    ) -> None:
        """End the calls whose clients send a message too slowly; times are in seconds."""
        while True:
            await asyncio.sleep(check_every)
            for call in list(self._calls.values()):
                call.end_if_incomplete(time.monotonic() - message_within)

    def accept(self, stream: Http2Stream, headers: list[Header]) -> StreamOwner:
        """Start the call that a new HTTP/2 stream's headers describe."""
        fields = dict(headers)
        call = GrpcCall(stream, fields, self._memory)
        if not fields.get(b"content-type", b"").startswith(b"application/grpc"):
            stream.send_headers(_NOT_GRPC_BLOCK, end=True)
            return call
        if self._refusal is not None:
            call.refuse(self._refusal)
            return call
        handler = self._handlers.get(fields.get(b":path", b""), _unknown_method)
        timeout = _timeout(fields.get(b"grpc-timeout"))
        if timeout is not None and timeout <= _NO_TIME_LEFT:
            call.refuse(_TOO_LATE)
            return call
        task = call.start(handler, timeout)
        self._calls[task] = call
        task.add_done_callback(self._calls.pop)
        return call

    def refuse_calls(self, refusal: Refusal) -> None:
        """Refuse new calls; running ones continue."""
        self._refusal = refusal

    async def end_calls(self, refusal: Refusal) -> None:
        """End every call with this status."""
        for call in self._calls.values():
            call.end(refusal)
        if self._calls:
            await asyncio.wait(self._calls)


@lru_cache(maxsize=1)
def _response_block(now: int) -> bytes:
    """The headers of an answer that begins at this second: clients learn our time from it."""
    return encode_headers([*_RESPONSE, (b"date", formatdate(now, usegmt=True).encode())])


async def _unknown_method(call: Call) -> None:
    raise Refusal(StatusCode.UNIMPLEMENTED, "Method not found!")


def _trailers(refusal: Refusal) -> list[Header]:
    details = _header_value(refusal.details, safe=_PRINTABLE)
    trailers = [(b"grpc-status", b"%d" % refusal.status), (b"grpc-message", details)]
    for name, value in refusal.trailers:
        trailers.append((name.encode(), _header_value(value, safe=_PRINTABLE + "%")))
    return trailers


def _header_value(text: str, safe: str) -> bytes:
    """A text, such as one with a stream's name, which may be too long, or not printable."""
    printable = quote(text[:_MAX_DETAILS], safe=safe)
    # A field that begins or ends with a space is malformed in HTTP/2; some clients drop all of it.
    return _SPACES_AT_THE_ENDS.sub(lambda spaces: "%20" * len(spaces[0]), printable).encode()


def _timeout(value: bytes | None) -> float | None:
    """The seconds in a grpc-timeout header; None for an invalid one."""
    if not value or value[-1:] not in _TIMEOUT_UNITS or not value[:-1].isdigit():
        return None
    return min(int(value[:-1][:10]) * _TIMEOUT_UNITS[value[-1:]], _LONGEST_TIMEOUT)
