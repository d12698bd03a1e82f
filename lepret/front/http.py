"""Connections and requests of the web server, with limits.

daphne serves HTTP through Twisted, which reads bodies of any size, parses forms on its event loop,
and lets a request take any time as long as a byte comes now and then.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextvars import Context
from http import HTTPStatus
from io import BytesIO
from typing import Any, Final

from daphne import http_protocol
from django.conf import settings
from twisted.internet import reactor
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Protocol, connectionDone
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel

from lepret.common.callers import UNKNOWN, client_address, network_of
from lepret.common.turns import current_turn
from lepret.front import answers
from lepret.front.answers import Refusal
from lepret.front.fairness import Counted, GivenTurn, LoopShare, TooManyWaiting, Turns, Waiting
from lepret.front.limits import Limits
from lepret.front.targets import Asked, Target

# While the rest of a refused request comes in, it is read in such intervals, in seconds.
_SECONDS_BETWEEN_READS: Final = 0.01
_SECONDS_TO_READ_A_REFUSAL: Final = 1.0
# What the event loop itself takes for a read, for a connection from beginning to end, and to close
# one at once, in seconds.
_SECONDS_FOR_A_READ: Final = 0.000_1
_SECONDS_FOR_A_CONNECTION: Final = 0.000_5
_SECONDS_TO_CLOSE: Final = 0.000_1
_BYTES_IN_A_CHUNK: Final = 256
# A Content-Length with more digits is an error, not a size.
_MOST_DIGITS: Final = 18
# They are asked when nothing else is answered any more.
_PROBES: Final = (b"/healthz", b"/readyz")


class _BodyTooLarge(Exception):
    pass


class _TooManyPieces(Exception):
    pass


class Front:
    """What the connections of one server share."""

    def __init__(self, limits: Limits, *, proxies: int) -> None:
        self.limits = limits
        self.proxies = proxies
        self.turns = Turns(limits)
        # Behind a proxy all connections come from its address, which says nothing of a caller.
        most = limits.connections if proxies else limits.connections_per_address
        self.connections = Counted(most, limits.connections)
        self.sockets = Counted(limits.sockets_per_address, limits.connections)
        self.lingering = Counted(limits.lingering_per_address, limits.lingering)
        self.probes = {path: Counted(limits.probes_per_address, limits.probes) for path in _PROBES}
        self.loop_share = LoopShare(self.turns, limits, time.monotonic)


class Channel(HTTPChannel):
    """One connection, over which one request comes after another."""

    _abortingCall: Any

    # Twisted reads on while a request is handled. One byte of the next one is enough.
    _optimisticEagerReadSize = 0

    def __init__(self, front: Front, address: str) -> None:
        super().__init__()
        self.front = front
        self.address = address
        self.maxHeaders = front.limits.headers
        self.totalHeadersSize = front.limits.header_bytes
        self._is_counted = True
        self._is_idle = True
        self._pieces = 0
        self._first_line = b""
        # What has come in and may not be looked at yet.
        self._held = b""
        self._holding: Any = None
        # Whether an error was answered, and how much has come in since.
        self._is_refused = False
        self._unwanted_bytes = 0
        self._leave_lingering: Callable[[], None] | None = None
        # Whose request was handled last, and what to call when its answer has been read.
        self.caller = address
        self._answer_is_read: Callable[[], None] | None = None
        self._when_read: Callable[[], None] | None = None

    # What comes in ------------------------------------------------------------------------------

    def dataReceived(self, data: bytes) -> None:
        # Of a proxy, all callers together would be slowed down.
        wait = 0.0 if self.front.proxies else self.front.loop_share.wait(self.address)
        if self._held or wait:
            self._hold(data, wait)
            return
        began = time.thread_time()
        self._receive(data)
        took = time.thread_time() - began
        self.front.loop_share.take(self.address, _SECONDS_FOR_A_READ + took)

    def _hold(self, data: bytes, wait: float) -> None:
        """Keep what has come in until it may be looked at, and read no more until then."""
        self._held += data
        self._networkProducer.pauseProducing()
        if self._holding is None:
            self._holding = self.callLater(wait, self._go_on)

    def _go_on(self) -> None:
        # Read first: whoever has gone meanwhile gets no answer, and need cost no more.
        self._networkProducer.resumeProducing()
        self._holding = self.callLater(0, self._look_at_held)

    def _look_at_held(self) -> None:
        self._holding = None
        data, self._held = self._held, b""
        self._networkProducer.resumeProducing()
        self.dataReceived(data)

    def _receive(self, data: bytes) -> None:
        if self._is_refused:
            self._discard(data)
            return
        if self._is_idle:
            self._is_idle = False
            self._pieces = 0
            self.resetTimeout()  # Only here: Twisted does it with every byte.
        self._pieces += 1
        if self._pieces > self.front.limits.pieces:
            self.refuse(answers.BAD_REQUEST)
            return
        LineReceiver.dataReceived(self, data)

    def lineReceived(self, line: bytes) -> None:
        is_first = not hasattr(self, "_command")
        if is_first:
            self._first_line = line
        if is_first and len(line) > self.front.limits.target_bytes:
            self.refuse(answers.TARGET_TOO_LONG)
        elif line[:1] in (b" ", b"\t"):
            # A header that goes on in a second line, which a server may refuse: RFC 9112, 5.2.
            self.refuse(answers.BAD_REQUEST)
        else:
            super().lineReceived(line)

    def lineLengthExceeded(self, line: bytes) -> None:
        self._first_line = self._first_line or line
        is_header = hasattr(self, "_command")
        self.refuse(answers.HEADERS_TOO_LARGE if is_header else answers.TARGET_TOO_LONG)

    def rawDataReceived(self, data: bytes) -> None:
        try:
            super().rawDataReceived(data)
        except _BodyTooLarge:
            self.refuse(answers.BODY_TOO_LARGE)
        except _TooManyPieces:
            self.refuse(answers.BAD_REQUEST)

    def _maybeChooseTransferDecoder(self, header: bytes, data: bytes) -> bool:
        if header == b"Content-Length" and len(data) > _MOST_DIGITS:
            self.refuse(answers.BAD_REQUEST)
            return False
        is_valid: bool = super()._maybeChooseTransferDecoder(header, data)
        return is_valid

    def allHeadersReceived(self) -> None:
        if self._is_refused:
            return
        if self.length is not None and self.length > self.front.limits.body_bytes:
            self.refuse(answers.BODY_TOO_LARGE)
            return
        super().allHeadersReceived()

    def allContentReceived(self) -> None:
        if not self._is_refused:
            super().allContentReceived()

    def requestDone(self, request: Any) -> None:
        self._is_idle = True
        self._first_line = b""
        super().requestDone(request)

    # What goes out ------------------------------------------------------------------------------

    def pauseProducing(self) -> None:
        """Count the answer as unread: more waits to be sent than the connection takes at once."""
        super().pauseProducing()
        if self._answer_is_read is None:
            self._answer_is_read = self.front.turns.unread(self.caller)

    def resumeProducing(self) -> None:
        """Go on: what waited has been sent."""
        super().resumeProducing()
        self._no_longer_unread()
        if self._when_read is not None and not self._is_refused:
            go_on, self._when_read = self._when_read, None
            go_on()

    def when_read(self, go_on: Callable[[], None]) -> None:
        """Call this once the answers before have been read; at once if there are none."""
        if self._answer_is_read is None:
            go_on()
        else:
            self._when_read = go_on

    def _no_longer_unread(self) -> None:
        if self._answer_is_read is not None:
            self._answer_is_read()
            self._answer_is_read = None

    # How it ends --------------------------------------------------------------------------------

    def refuse(self, refusal: Refusal, *, lingers: bool = True) -> None:
        """Answer with an error and close the connection.

        `lingers`: what still comes in is read and thrown away for a moment. If data were left
        unread, TCP would reset the connection, and the client might lose the answer.
        """
        if self._is_refused:
            return
        self._is_refused = True
        self.setTimeout(None)
        self.transport.write(refusal.as_bytes(self._asked()))
        # What has come in is not needed any more.
        self.clearLineBuffer()
        self._transferDecoder = None
        if lingers and self.front.lingering.enter(self.address):
            self._leave_lingering = lambda: self.front.lingering.leave(self.address)
            self._networkProducer.unregisterProducer()
            self.transport.loseWriteConnection()
            self._networkProducer.resumeProducing()
            self._abort_after(self.front.limits.linger_seconds)
        else:
            self.loseConnection()

    def _asked(self) -> Asked:
        if self._handlingRequest:
            request = self.requests[-1]
            return Asked(request.method, Target.of(request.uri))
        return Asked.in_line(self._first_line or self._buffer)

    def _respondToBadRequestAndDisconnect(self) -> None:
        too_large = self._receivedHeaderSize > self.totalHeadersSize
        too_many = self._receivedHeaderCount > self.maxHeaders
        self.refuse(answers.HEADERS_TOO_LARGE if too_large or too_many else answers.BAD_REQUEST)

    def _discard(self, data: bytes) -> None:
        self._unwanted_bytes += len(data)
        if self._unwanted_bytes > self.front.limits.linger_bytes:
            self.transport.abortConnection()
            return
        self._networkProducer.pauseProducing()
        self.callLater(_SECONDS_BETWEEN_READS, self._networkProducer.resumeProducing)

    def timeoutConnection(self) -> None:
        if self._is_idle:
            self.loseConnection()
        else:
            self.refuse(answers.TOO_SLOW, lingers=False)

    def loseConnection(self) -> None:
        super().loseConnection()
        # A client that does not read its answer would keep the connection open.
        self._abort_after(self.front.limits.request_seconds)

    def _abort_after(self, seconds: float) -> None:
        if self._abortingCall is None:
            self._abortingCall = self.callLater(seconds, self.forceAbortClient)

    def connectionLost(self, reason: Failure) -> None:
        super().connectionLost(reason)
        self.requests.clear()
        self._when_read = None
        if self._holding is not None:
            self._holding.cancel()
        if self._leave_lingering is not None:
            self._leave_lingering()
        self._no_longer_unread()
        self.no_longer_counted()

    def no_longer_counted(self) -> None:
        """Count it among the connections no longer: it is closed, or has become a websocket."""
        if self._is_counted:
            self._is_counted = False
            self.front.connections.leave(self.address)


class Request(http_protocol.WebRequest):
    """One request, which waits for its turn before the application sees it."""

    channel: Channel

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._front: Front = self.channel.front
        self._chunks = 0
        self._has_turn = False
        self._waiting: Waiting | None = None
        self._patience: Any = None

    def gotLength(self, length: int | None) -> None:
        self.content = BytesIO()  # It is small: Twisted would use a file.

    def handleContentChunk(self, data: bytes) -> None:
        received = self.content.tell()
        self._chunks += 1
        if self._chunks > self._front.limits.chunks + received // _BYTES_IN_A_CHUNK:
            raise _TooManyPieces
        if received + len(data) > self._front.limits.body_bytes:
            raise _BodyTooLarge
        self.content.write(data)

    def parseCookies(self) -> None:
        """Leave that to Django."""

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """Go on without parsing query and body, which Twisted would do here: Django does."""
        self.method, self.uri, self.clientproto = command, path, version
        self.process()

    def process(self) -> None:
        """Wait for the request's turn."""
        # Whoever sends this could move a path past the rules of a proxy.
        self.requestHeaders.removeHeader(b"Daphne-Root-Path")
        # The pages here use none. daphne fails if this one is not ASCII.
        self.requestHeaders.removeHeader(b"Sec-WebSocket-Protocol")
        if not self._use_target():
            self.channel.refuse(answers.BAD_REQUEST)
            return
        caller = self._caller()
        if self._wants_socket() and self._front.sockets.is_full(caller):
            self.channel.refuse(answers.TOO_MANY_SOCKETS)
            return
        # A client may send requests ahead, and never read the answers.
        self.channel.when_read(lambda: self._begin(caller))
        if not self._has_turn and self.channel is not None:
            patience = self._front.limits.longest_wait_seconds
            self._patience = reactor.callLater(patience, self._give_up)

    def _begin(self, caller: str) -> None:
        probes = self._front.probes.get(self.path)
        if probes is None or self._wants_socket() or not probes.enter(caller):
            self._ask_for_turn(caller)
            return
        self._has_turn = True
        self._stop_waiting()
        self.channel.caller = caller
        Context().run(super().process)  # As turns are begun.
        self._when_answered(lambda: probes.leave(caller))

    def _when_answered(self, call: Callable[[], None]) -> None:
        application = self.server.connections.get(self, {}).get("application_instance")
        if application is None:
            call()
        else:
            application.add_done_callback(lambda _: call())

    def _ask_for_turn(self, caller: str) -> None:
        is_heavy = self.content.tell() > self._front.limits.heavy_body_bytes
        try:
            waiting = self._front.turns.ask(caller, is_heavy=is_heavy, start=self._start)
        except TooManyWaiting:
            self.channel.refuse(answers.TOO_MANY_WAITING)
            return
        if not self._has_turn:
            self._waiting = waiting

    def _use_target(self) -> bool:
        """Take the path, also from an absolute URL (RFC 9112, section 3.2.2).

        Returns whether there is one.
        """
        target = Target.of(self.uri)
        if target.host is not None:
            self.requestHeaders.setRawHeaders(b"Host", [target.host])
        if target.is_call:
            # A server may ignore this (RFC 9110, section 7.8), and the API has no websockets.
            self.requestHeaders.removeHeader(b"Upgrade")
        self.uri, self.path = target.uri, target.path
        return target.path.startswith(b"/")

    def _caller(self) -> str:
        forwarded_for = b",".join(self.requestHeaders.getRawHeaders(b"X-Forwarded-For", []))
        address = client_address(
            self.channel.address, forwarded_for.decode("latin-1"), self._front.proxies
        )
        return network_of(address)

    def _start(self, turn: GivenTurn) -> None:
        self._has_turn = True
        self.channel.caller = turn.caller
        self._stop_waiting()
        token = current_turn.set(turn)
        try:
            if self._wants_socket():
                self._become_socket(turn.caller)
            else:
                super().process()
        finally:
            current_turn.reset(token)
        self._when_answered(turn.hold())

    def _wants_socket(self) -> bool:
        upgrades: list[bytes] = self.requestHeaders.getRawHeaders(b"Upgrade", [b""])
        return upgrades[0].lower() == b"websocket"

    def _become_socket(self, caller: str) -> None:
        if not self._front.sockets.enter(caller):
            self.channel.refuse(answers.TOO_MANY_SOCKETS)
            return
        channel = self.channel
        super().process()
        if self.transport is None:  # The websocket has it now.
            channel.no_longer_counted()
        else:
            self._front.sockets.leave(caller)

    def _give_up(self) -> None:
        self._patience = None
        self._stop_waiting()
        self.channel.refuse(answers.WAITED_TOO_LONG)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._front.turns.withdraw(self._waiting)
            self._waiting = None
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def connectionLost(self, reason: Failure) -> None:
        self._stop_waiting()
        super().connectionLost(reason)

    def basic_error(self, status: int, status_text: bytes, body: str) -> None:
        """Give daphne's own errors the headers of every answer."""
        if self.channel is not None:
            self.channel.refuse(Refusal(HTTPStatus(status), f"{body}."))

    def handle_reply(self, message: dict[str, Any]) -> None:
        """Send no body for `HEAD`: of one in several parts, daphne would send all but the first."""
        super().handle_reply({**message, "body": b""} if self.method == b"HEAD" else message)

    def handle_exception(self, exception: BaseException) -> None:
        """Answer 500; if the answer has begun, only break it off, which daphne would fail to do."""
        if self._response_started and self.channel is not None:
            self.channel.forceAbortClient()
        else:
            super().handle_exception(exception)


class _Refused(Protocol):
    """A connection too many, which gets an answer if that costs little, and is closed."""

    def __init__(self, front: Front, address: str) -> None:
        self._front = front
        self._address = address
        self._is_counted = False
        self._is_answered = False

    def connectionMade(self) -> None:
        if not self._front.lingering.enter(self._address):
            self.transport.abortConnection()
            return
        self._is_counted = True
        reactor.callLater(_SECONDS_TO_READ_A_REFUSAL, self.transport.abortConnection)

    def dataReceived(self, data: bytes) -> None:
        if not self._is_answered:
            self._is_answered = True
            self.transport.write(answers.TOO_MANY_CONNECTIONS.as_bytes(Asked.in_line(data)))
            self.transport.loseWriteConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._is_counted:
            self._front.lingering.leave(self._address)


class HTTPFactory(http_protocol.HTTPFactory):
    """Makes the connections of one server."""

    def __init__(self, server: Any) -> None:
        super().__init__(server)
        self.front = Front(Limits.from_settings(), proxies=settings.WEB_PROXIES)
        self.timeOut = self.front.limits.request_seconds

    def buildProtocol(self, addr: IAddress | None) -> Channel | _Refused | None:
        """The connection's protocol; `None` closes it at once, without an answer."""
        address = network_of(getattr(addr, "host", UNKNOWN))
        if not self.front.proxies and self.front.loop_share.is_spent(address):
            self.front.loop_share.take(address, _SECONDS_TO_CLOSE)
            return None
        self.front.loop_share.take(address, _SECONDS_FOR_A_CONNECTION)
        if not self.front.connections.enter(address):
            return _Refused(self.front, address)
        channel = Channel(self.front, address)
        channel.factory = self
        channel.requestFactory = Request
        channel.callLater = self.reactor.callLater
        channel.timeOut = self.timeOut
        return channel

    def log(self, request: Any) -> None:
        """Leave that to daphne: Twisted would put together a line that nobody reads."""

    def acceptableProtocols(self) -> list[bytes]:
        """Only HTTP/1.1, over TLS too: `Channel` has the limits for no other."""
        return [b"http/1.1"]
