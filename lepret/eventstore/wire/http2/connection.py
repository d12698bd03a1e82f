"""A client's HTTP/2 connection: frames, streams, and flow control in both directions."""

import asyncio
import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from lepret.eventstore.rpc import place_of
from lepret.eventstore.wire import http1
from lepret.eventstore.wire.http2 import frames
from lepret.eventstore.wire.http2.connections import Connections
from lepret.eventstore.wire.http2.frames import ConnectionFault, ErrorCode, FrameType, Setting
from lepret.eventstore.wire.http2.headers import (
    MAX_HEADER_LIST,
    Header,
    HeaderDecoder,
    HeadersUnreadable,
)
from lepret.eventstore.wire.http2.patience import Patience

MAX_STREAMS = 250
"""Streams that one client may have open at the same time."""

STREAM_WINDOW = 256 * 1024
CONNECTION_WINDOW = 4 * 1024 * 1024
"""Bytes that a client may send ahead: on one stream, and on all streams together."""

MAX_HEADER_BLOCK = MAX_HEADER_LIST

BYTES_PER_FRAME = 128
"""For so many bytes sent to it, a client may send one frame more that is no work by itself, such as
WINDOW_UPDATE."""

LARGEST_WRITE = 256 * 1024
"""Bytes passed to the socket at once."""


logger = logging.getLogger(__name__)


class StreamOwner(Protocol):
    """Handles what arrives on a stream. Called by the event loop; must not block."""

    def data_received(self, data: bytes) -> None:
        """Bytes from the client, in order. Call `Http2Stream.consumed` when they are processed:
        only then may the client send more.
        """

    def end_received(self) -> None:
        """The client will send no more on this stream."""

    def lost(self) -> None:
        """The client has reset the stream, or the connection is lost."""


class StreamLost(Exception):
    """The HTTP/2 stream is closed: nothing can be sent on it."""


class Http2Stream:
    """A stream of an HTTP/2 connection, as its owner sees it."""

    def __init__(self, connection: "Http2Connection", stream_id: int, window: int) -> None:
        self.id = stream_id
        self.window = window
        """Bytes that the client is ready to receive on this stream; may be negative."""
        self.receivable = STREAM_WINDOW
        """Bytes that the client may send on this stream."""
        self.unconsumed = 0
        """Bytes received that the owner has not processed."""
        self.owner: StreamOwner | None = None
        self.client_ended = False
        self.closed = False
        self._connection = connection

    def send_headers(self, block: bytes, *, end: bool = False) -> None:
        """Send an encoded header block; with ``end`` the stream is then closed."""
        if not self.closed:
            self._connection.send_headers(self, block, end=end)

    async def send_data(self, data: bytes) -> None:
        """Send bytes as fast as flow control allows. Raises StreamLost."""
        await self._connection.send_data(self, data)

    def consumed(self, octets: int) -> None:
        """Let the client send that many more bytes."""
        if octets and not self.closed:
            self._connection.consumed(self, octets)


Accept = Callable[[Http2Stream, list[Header]], StreamOwner]
"""Called with each new stream and its headers."""


@dataclass(frozen=True)
class Limits:
    """What the server puts up with from one client. Times are in seconds."""

    preface: float = 10.0
    """The first bytes, which every HTTP/2 client sends at once."""
    unread: float = 60.0
    """Until a client reads more from its socket. One that only handles its events slowly, and
    stops them by flow control, has no such limit.
    """
    goodbye: float = 5.0
    """For a client to read why its connection ends."""
    frames: int = 2000
    frames_per_second: float = 100.0
    """Frames that are no work by themselves: at once, and for long."""
    resets: int = 1000
    resets_per_second: float = 100.0
    """Streams that the client gives up before they have ended: at once, and for long."""


class Http2Connection(asyncio.BufferedProtocol):
    """The server's side of an HTTP/2 connection."""

    # Shared by all connections: filled and emptied in one iteration of the event loop.
    _incoming = memoryview(bytearray(64 * 1024))

    def __init__(
        self,
        accept: Accept,
        connections: "Connections[Http2Connection]",
        limits: Limits = Limits(),
    ) -> None:
        self._accept = accept
        self._connections = connections
        self._transport: asyncio.Transport
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray()
        self._outgoing: list[bytes] = []
        self._outgoing_size = 0
        self._limits = limits
        self._patience = Patience(limits.frames, limits.frames_per_second)
        self._resets = Patience(limits.resets, limits.resets_per_second)
        self._last_received = self._loop.time()
        self._no_preface: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None
        self._preface_seen = False
        self._decoder = HeaderDecoder()
        self._streams: dict[int, Http2Stream] = {}
        self._last_stream_id = 0
        self._closing = False
        # An incomplete header block: stream, flags of its first frame, bytes so far.
        self._headers: tuple[int, int, bytearray] | None = None
        self._window = frames.DEFAULT_WINDOW
        self._stream_window = frames.DEFAULT_WINDOW
        self._max_frame = frames.DEFAULT_MAX_FRAME
        self._writable = True
        self._room = asyncio.Event()
        self._receivable = CONNECTION_WINDOW
        self._unacknowledged = 0
        self.closed = asyncio.Event()

    # The socket ---------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if not self._connections.admit(self):
            transport.abort()
            return
        self._no_preface = self._loop.call_later(self._limits.preface, transport.abort)
        peer: socket.socket = transport.get_extra_info("socket")
        # Without SO_KEEPALIVE, connections of vanished clients would stay open; without
        # TCP_NODELAY, the kernel would delay small answers by up to 40 ms.
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.remove(self)
        self._stop_waiting(self._no_preface, self._stalled)
        for stream in list(self._streams.values()):
            self._lose(stream)
        self._room.set()
        self.closed.set()

    def pause_writing(self) -> None:
        """Stop reading from a client that does not read: answers would pile up."""
        self._writable = False
        self._transport.pause_reading()
        self._stalled = self._loop.call_later(self._limits.unread, self._transport.abort)

    def resume_writing(self) -> None:
        self._writable = True
        self._stop_waiting(self._stalled)
        self._transport.resume_reading()
        self._room.set()

    def write(self, data: bytes) -> None:
        """Send bytes together with all others of this iteration of the event loop."""
        if not self._outgoing:
            self._loop.call_soon(self._flush)
        self._outgoing.append(data)
        self._outgoing_size += len(data)
        if self._outgoing_size >= LARGEST_WRITE:
            self._flush()

    def _flush(self) -> None:
        outgoing = b"".join(self._outgoing)
        self._outgoing.clear()
        self._outgoing_size = 0
        if outgoing and not self._transport.is_closing():
            self._transport.write(outgoing)

    def close(self, code: ErrorCode = ErrorCode.NO_ERROR, reason: str = "") -> None:
        """Send GOAWAY with the reason, a fixed text, and close when everything is sent.

        GOAWAY names the highest possible stream id, not the last one seen: grpcio 1.71 retries
        streams above it, and if it cannot connect, these calls hang beyond their timeouts.
        """
        self._closing = True
        self.write(frames.goaway(frames.MAX_STREAM_ID, code, reason))
        self._flush()
        self._hang_up()

    def _hang_up(self) -> None:
        """Close when everything is sent."""
        self._transport.close()
        self._loop.call_later(self._limits.goodbye, self._transport.abort)

    def abort(self) -> None:
        """Close without waiting for the client."""
        self._transport.abort()

    @property
    def is_idle(self) -> bool:
        """Whether no call is open."""
        return not self._streams

    @property
    def last_used(self) -> tuple[bool, float]:
        """Whether the client has spoken HTTP/2, and when it last sent anything."""
        return self._preface_seen, self._last_received

    def consumed(self, stream: Http2Stream, octets: int) -> None:
        """Let the client send that many more bytes, on the stream and on the connection."""
        stream.unconsumed -= octets
        if not stream.client_ended:
            stream.receivable += octets
            self.write(frames.window_update(stream.id, octets))
        self._replenish_connection(octets)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._incoming

    def buffer_updated(self, nbytes: int) -> None:
        self._buffer += self._incoming[:nbytes]
        self._last_received = self._loop.time()
        try:
            self._take_frames()
        except ConnectionFault as fault:
            self._fail(fault)
        except HeadersUnreadable:
            reason = "a header block cannot be decoded, or is too large"
            self._fail(ConnectionFault(ErrorCode.COMPRESSION_ERROR, reason))
        except Exception as error:  # noqa: BLE001 - asyncio would log it with what was sent
            logger.error("a connection failed: %s", place_of(error))
            self._fail(ConnectionFault(ErrorCode.INTERNAL_ERROR, "the server failed"))

    def _fail(self, fault: ConnectionFault) -> None:
        """End the connection, and its calls at once: their answers would wait to be sent."""
        self._buffer.clear()
        self.close(fault.code, str(fault))
        for stream in list(self._streams.values()):
            self._lose(stream)

    @staticmethod
    def _stop_waiting(*timers: asyncio.TimerHandle | None) -> None:
        for timer in timers:
            if timer is not None:
                timer.cancel()

    # Frames in ----------------------------------------------------------------------

    def _take_frames(self) -> None:
        if not self._preface_seen and not self._take_preface():
            return
        buffer = self._buffer
        at = 0
        while len(buffer) - at >= frames.HEADER_SIZE:
            length, kind, flags, stream_id = frames.parse_header(buffer, at)
            if length > frames.DEFAULT_MAX_FRAME:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "a frame is too large")
            end = at + frames.HEADER_SIZE + length
            if end > len(buffer):
                break
            self._take(kind, flags, stream_id, bytes(buffer[at + frames.HEADER_SIZE : end]))
            at = end
        del buffer[:at]

    def _take_preface(self) -> bool:
        received = bytes(self._buffer[: len(frames.PREFACE)])
        if http1.is_http1(received):
            self._answer_http1()
            return False
        if not frames.PREFACE.startswith(received):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "this port speaks HTTP/2 only")
        if len(received) < len(frames.PREFACE):
            return False
        del self._buffer[: len(frames.PREFACE)]
        self._preface_seen = True
        self._stop_waiting(self._no_preface)
        self._introduce()
        return True

    def _answer_http1(self) -> None:
        answer = http1.answer_to(self._buffer)
        if answer:
            self.write(answer)
            self._flush()
            self._hang_up()

    def _introduce(self) -> None:
        """Begin to speak HTTP/2, which whoever speaks HTTP/1.1 would not understand."""
        self.write(
            frames.settings(
                {
                    Setting.MAX_CONCURRENT_STREAMS: MAX_STREAMS,
                    Setting.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
                    Setting.MAX_HEADER_LIST_SIZE: MAX_HEADER_LIST,
                }
            )
            + frames.window_update(0, CONNECTION_WINDOW - frames.DEFAULT_WINDOW)
        )

    def _take(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        if self._headers is not None and kind != FrameType.CONTINUATION:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a header block was interrupted")
        if kind not in _WORK:
            self._patience.spend()
        match kind:
            case FrameType.DATA:
                self._take_data(flags, stream_id, payload)
            case FrameType.HEADERS:
                self._take_headers(flags, stream_id, payload)
            case FrameType.CONTINUATION:
                self._take_continuation(flags, stream_id, payload)
            case FrameType.WINDOW_UPDATE:
                self._take_window_update(stream_id, payload)
            case FrameType.RST_STREAM:
                self._take_reset(stream_id, payload)
            case FrameType.SETTINGS:
                self._take_settings(flags, payload)
            case FrameType.PING:
                self._take_ping(flags, payload)
            case FrameType.PUSH_PROMISE:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a client cannot push")
            case _:
                pass  # PRIORITY, the client's GOAWAY, extensions

    def _take_data(self, flags: int, stream_id: int, payload: bytes) -> None:
        self._receivable -= len(payload)
        if self._receivable < 0:
            raise _too_much_data()
        stream = self._streams.get(stream_id)
        if stream is None:
            self._refuse_if_idle(stream_id)
            self._patience.spend()
            self._replenish_connection(len(payload))
            return
        if stream.client_ended:
            raise ConnectionFault(ErrorCode.STREAM_CLOSED, "data after the end of a stream")
        stream.receivable -= len(payload)
        if stream.receivable < 0:
            raise _too_much_data()
        stream.unconsumed += len(payload)
        data = frames.unpadded(payload, flags)
        ended = bool(flags & frames.END_STREAM)
        if not data and not ended:
            self._patience.spend()
        stream.client_ended = ended
        stream.consumed(len(payload) - len(data))
        assert stream.owner is not None
        if data:
            stream.owner.data_received(data)
        if ended:
            stream.owner.end_received()

    def _replenish_connection(self, octets: int) -> None:
        """Let the client send more on all streams together."""
        self._unacknowledged += octets
        if self._unacknowledged >= CONNECTION_WINDOW // 4:
            self.write(frames.window_update(0, self._unacknowledged))
            self._receivable += self._unacknowledged
            self._unacknowledged = 0

    def _take_headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        block = frames.unpadded(payload, flags)
        if flags & frames.PRIORITY_FLAG:
            block = block[5:]
        if flags & frames.END_HEADERS:
            self._take_header_block(flags, stream_id, block)
        else:
            self._headers = (stream_id, flags, bytearray(block))

    def _take_continuation(self, flags: int, stream_id: int, payload: bytes) -> None:
        if self._headers is None or self._headers[0] != stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "nothing to continue")
        _, first_flags, block = self._headers
        block += payload
        if len(block) > MAX_HEADER_BLOCK:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "the headers are too large")
        if flags & frames.END_HEADERS:
            self._headers = None
            self._take_header_block(first_flags, stream_id, bytes(block))

    def _take_header_block(self, flags: int, stream_id: int, block: bytes) -> None:
        headers = self._decoder.decode(block)  # Always: it changes the table for later blocks.
        stream = self._streams.get(stream_id)
        ended = bool(flags & frames.END_STREAM)
        if stream is not None:
            self._take_trailers(stream, ended)
        elif stream_id > self._last_stream_id and stream_id % 2:
            self._open(stream_id, headers, ended)
        elif not stream_id % 2:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a client's stream ids must be odd")
        else:
            self._patience.spend()  # Trailers of a stream that has ended.

    def _take_trailers(self, stream: Http2Stream, ended: bool) -> None:
        if not ended or stream.client_ended:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "trailers out of place")
        stream.client_ended = True
        assert stream.owner is not None
        stream.owner.end_received()

    def _open(self, stream_id: int, headers: list[Header], ended: bool) -> None:
        self._last_stream_id = stream_id
        if self._closing or len(self._streams) >= MAX_STREAMS:
            self._patience.spend()
            self.write(frames.rst_stream(stream_id, ErrorCode.REFUSED_STREAM))
            return
        stream = self._streams[stream_id] = Http2Stream(self, stream_id, self._stream_window)
        stream.client_ended = ended
        stream.owner = self._accept(stream, headers)
        if ended:
            stream.owner.end_received()

    def _take_window_update(self, stream_id: int, payload: bytes) -> None:
        octets = frames.parse_word(payload)
        if not octets:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a window update of 0")
        if stream_id == 0:
            self._window += octets
            if self._window > frames.MAX_WINDOW:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "the window is too large")
        elif stream := self._streams.get(stream_id):
            stream.window += octets
            if stream.window > frames.MAX_WINDOW:
                self._resets.spend()
                self._reset(stream, ErrorCode.FLOW_CONTROL_ERROR)
        else:
            self._refuse_if_idle(stream_id)
        self._room.set()

    def _take_reset(self, stream_id: int, payload: bytes) -> None:
        frames.parse_word(payload)
        self._refuse_if_idle(stream_id)
        if stream := self._streams.get(stream_id):
            self._resets.spend()
            self._lose(stream)

    def _take_settings(self, flags: int, payload: bytes) -> None:
        if flags & frames.ACK:
            return
        settings = frames.parse_settings(payload)
        self._patience.spend(len(settings))
        for setting, value in settings:
            if setting == Setting.INITIAL_WINDOW_SIZE:
                self._change_stream_windows(value)
            elif setting == Setting.MAX_FRAME_SIZE:
                if not frames.DEFAULT_MAX_FRAME <= value < 2**24:
                    raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "an invalid frame size")
                self._max_frame = value
        self.write(frames.frame(FrameType.SETTINGS, frames.ACK, 0))
        self._room.set()

    def _change_stream_windows(self, size: int) -> None:
        if size > frames.MAX_WINDOW:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "the window is too large")
        for stream in self._streams.values():
            stream.window += size - self._stream_window
        self._stream_window = size

    def _take_ping(self, flags: int, payload: bytes) -> None:
        if len(payload) != frames.PING_SIZE:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "a ping of a wrong length")
        if not flags & frames.ACK:
            self.write(frames.frame(FrameType.PING, frames.ACK, 0, payload))

    def _refuse_if_idle(self, stream_id: int) -> None:
        """Raise ConnectionFault if the stream was never opened. It may have ended."""
        if stream_id == 0 or stream_id > self._last_stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "there is no such stream")

    # Frames out ---------------------------------------------------------------------

    def send_headers(self, stream: Http2Stream, block: bytes, *, end: bool) -> None:
        """Send a header block; with ``end``, the stream is then closed."""
        flags = frames.END_HEADERS | (frames.END_STREAM if end else 0)
        self.write(frames.frame(FrameType.HEADERS, flags, stream.id, block))
        self._patience.earn(1)
        if not end:
            return
        if not stream.client_ended:
            self.write(frames.rst_stream(stream.id, ErrorCode.NO_ERROR))
        self._forget(stream)

    async def send_data(self, stream: Http2Stream, data: bytes) -> None:
        """Send bytes as fast as both flow-control windows allow. Raises StreamLost."""
        sent = 0
        while True:
            if stream.closed:
                raise StreamLost
            room = min(stream.window, self._window, LARGEST_WRITE, len(data) - sent)
            if room > 0 and self._writable:
                self._write_data(stream, data[sent : sent + room] if room < len(data) else data)
                sent += room
            if sent == len(data):
                return
            if room <= 0 or not self._writable:
                self._room.clear()
                await self._room.wait()

    def _write_data(self, stream: Http2Stream, data: bytes) -> None:
        stream.window -= len(data)
        self._window -= len(data)
        self._patience.earn(len(data) / BYTES_PER_FRAME)
        self.write(
            b"".join(
                piece
                for start in range(0, len(data), self._max_frame)
                for piece in _data_frame(stream.id, data[start : start + self._max_frame])
            )
        )

    def _reset(self, stream: Http2Stream, code: ErrorCode) -> None:
        self.write(frames.rst_stream(stream.id, code))
        self._lose(stream)

    def _lose(self, stream: Http2Stream) -> None:
        self._forget(stream)
        if stream.owner is not None:
            stream.owner.lost()

    def _forget(self, stream: Http2Stream) -> None:
        stream.closed = True
        self._replenish_connection(stream.unconsumed)
        stream.unconsumed = 0
        self._streams.pop(stream.id, None)
        self._room.set()


_WORK = frozenset({FrameType.DATA, FrameType.HEADERS})


def _too_much_data() -> ConnectionFault:
    return ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "more data than the window has room for")


def _data_frame(stream_id: int, payload: bytes) -> tuple[bytes, bytes]:
    return frames.frame_header(FrameType.DATA, 0, stream_id, len(payload)), payload
