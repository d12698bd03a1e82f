"""gRPC over HTTP/2: calls, their messages, deadlines and statuses."""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from urllib.parse import quote

from lepret.eventstore.rpc import Call, Handler, Methods, Refusal, StatusCode, place_of
from lepret.eventstore.wire.http2.connection import Http2Stream, StreamLost, StreamOwner
from lepret.eventstore.wire.http2.headers import Header, encode_headers

MAX_MESSAGE = 17 * 1024 * 1024
"""Bytes of one message from a client."""

INBOX = 256 * 1024
"""Bytes of complete messages that may wait for the handler before the client must pause."""

_PREFIX = 5
_COMPRESSED = 1
_MAX_DETAILS = 1024
_PRINTABLE = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")
_TIMEOUT_UNITS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_LONGEST_TIMEOUT = 10 * 365 * 24 * 3600.0

_RESPONSE: tuple[Header, ...] = ((b":status", b"200"), (b"content-type", b"application/grpc"))
_RESPONSE_BLOCK = encode_headers(_RESPONSE)
_OK_BLOCK = encode_headers([(b"grpc-status", b"0")])
_NOT_GRPC_BLOCK = encode_headers([(b":status", b"415")])

_NO_TIME_LEFT = 1e-3
"""Seconds. A client whose deadline has passed sends the shortest timeout there is."""

_TOO_LATE = Refusal(StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")

logger = logging.getLogger(__name__)


class GrpcCall:
    """One call: connects an HTTP/2 stream with a handler."""

    def __init__(self, stream: Http2Stream, headers: Mapping[bytes, bytes]) -> None:
        self._stream = stream
        self._headers = headers
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._ending: Refusal | None = None
        self._answering = False
        self._sending = asyncio.Lock()
        self._partial = bytearray()
        self._inbox: deque[bytes] = deque()
        self._inbox_size = 0
        self._unacknowledged = 0
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
            self._task.cancel()

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
                self._inbox_size -= len(message)
                self._replenish()
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
            await self._stream.send_data(data)

    # For the stream (StreamOwner) ---------------------------------------------------

    def data_received(self, data: bytes) -> None:
        self._unacknowledged += len(data)
        if self._ending is not None:
            return
        self._partial += data
        try:
            self._take_messages()
        except Refusal as refusal:
            self._partial.clear()
            self.end(refusal)
        self._replenish()

    def end_received(self) -> None:
        self._client_ended = True
        self._arrived.set()
        if self._partial:
            self.end(Refusal(StatusCode.INVALID_ARGUMENT, "The last message is incomplete."))

    def lost(self) -> None:
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
            self._inbox_size += length
            self._arrived.set()
            at = end
        del buffer[:at]

    def _replenish(self) -> None:
        """Let the client send more if few messages wait for the handler."""
        if self._inbox_size <= INBOX and self._unacknowledged >= INBOX // 4:
            self._stream.consumed(self._unacknowledged)
            self._unacknowledged = 0

    def _begin_answer(self) -> None:
        if not self._answering:
            self._answering = True
            self._stream.send_headers(_RESPONSE_BLOCK)

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
        if self._timer is not None:
            self._timer.cancel()
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


class GrpcServer:
    """The calls of all connections."""

    def __init__(self, methods: Methods) -> None:
        self._handlers = {path.encode(): handler for path, handler in methods.items()}
        self._calls: dict[asyncio.Task[None], GrpcCall] = {}
        self._refusal: Refusal | None = None

    def accept(self, stream: Http2Stream, headers: list[Header]) -> StreamOwner:
        """Start the call that a new HTTP/2 stream's headers describe."""
        fields = dict(headers)
        call = GrpcCall(stream, fields)
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


async def _unknown_method(call: Call) -> None:
    raise Refusal(StatusCode.UNIMPLEMENTED, "Method not found!")


def _trailers(refusal: Refusal) -> list[Header]:
    details = quote(refusal.details[:_MAX_DETAILS], safe=_PRINTABLE)
    trailers = [(b"grpc-status", b"%d" % refusal.status), (b"grpc-message", details.encode())]
    for name, value in refusal.trailers:
        # A stream's name, for example, may be longer than a header, or not printable.
        printable = quote(value[:_MAX_DETAILS], safe=_PRINTABLE + "%")
        trailers.append((name.encode(), printable.encode()))
    return trailers


def _timeout(value: bytes | None) -> float | None:
    """The seconds in a grpc-timeout header; None for an invalid one."""
    if not value or value[-1:] not in _TIMEOUT_UNITS or not value[:-1].isdigit():
        return None
    return min(int(value[:-1][:10]) * _TIMEOUT_UNITS[value[-1:]], _LONGEST_TIMEOUT)
