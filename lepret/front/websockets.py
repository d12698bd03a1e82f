"""Websockets, with limits on what a page may send and on how long it may leave things unread.

Our pages send next to nothing: a word now and then, such as "start over", and pongs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Final

from autobahn.websocket.protocol import PreparedMessage
from daphne import ws_protocol
from twisted.internet import reactor
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from lepret.common.turns import current_turn
from lepret.front.answers import Refusal
from lepret.front.fairness import GivenTurn
from lepret.front.http import Front, HTTPFactory
from lepret.front.targets import Asked

# After this many seconds a handshake keeps nobody else waiting: most of its time it only waits.
_LONGEST_TURN: Final = 0.25
# The seconds in which what a page sends is counted.
_WINDOW: Final = 10.0
# A few bytes are as much work as this.
_LEAST_COUNTED_BYTES: Final = 32


@lru_cache(maxsize=4)
def _framed(text: str) -> bytes:
    """The text as a frame, which is the same for all pages that show the same."""
    message = PreparedMessage(text.encode(), isBinary=False, applyMask=False, doNotCompress=True)
    framed: bytes = message.payloadHybi
    return framed


@implementer(IPushProducer)
class _Unread:
    """Knows whether the other side reads: the transport calls it."""

    def __init__(self) -> None:
        self.since: float | None = None

    def pauseProducing(self) -> None:
        self.since = time.monotonic()

    def resumeProducing(self) -> None:
        self.since = None

    def stopProducing(self) -> None:
        self.since = None


class WebSocketProtocol(ws_protocol.WebSocketProtocol):
    """The websocket of one open page."""

    def connectionMade(self) -> None:
        self._front: Front = self.factory.front
        self._unread = _Unread()
        self._unread_bytes = 0
        self._window_began = 0.0
        self._bytes = self._messages = 0
        # The connection that it was before has registered one.
        self.transport.unregisterProducer()
        self.transport.registerProducer(self._unread, True)
        turn = current_turn.get()
        assert isinstance(turn, GivenTurn), "A websocket begins in the turn of its request"
        self._caller = turn.caller
        self._end_turn: Callable[[], None] = turn.hold()
        self._turn_timer = reactor.callLater(_LONGEST_TURN, self._end_turn)
        super().connectionMade()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._front.sockets.leave(self._caller)
        if self._turn_timer.active():
            self._turn_timer.cancel()
        self._end_turn()
        super().connectionLost(reason)

    def sendHttpErrorResponse(self, code: int, reason: str, responseHeaders: object = None) -> None:
        """Refuse the handshake as other requests are refused: `reason` would repeat the request."""
        refusal = Refusal(HTTPStatus(code), "This is no websocket that can be opened.")
        self.sendData(refusal.as_bytes(Asked()))

    # What the page sends ------------------------------------------------------------------------

    def dataReceived(self, data: bytes) -> None:
        if self.state != self.STATE_CONNECTING:
            self._begin_window_if_over()
            self._bytes += max(len(data), _LEAST_COUNTED_BYTES)
            if self._bytes > self._front.limits.socket_bytes:
                self.transport.abortConnection()
                return
        super().dataReceived(data)

    def onMessageFrameBegin(self, length: int) -> None:
        super().onMessageFrameBegin(length)
        if self.message_data_total_length > self._front.limits.socket_message_bytes:
            self.transport.abortConnection()

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self._messages += 1
        if self._messages > self._front.limits.socket_messages:
            self.transport.abortConnection()
            return
        super().onMessage(payload, isBinary)

    def _begin_window_if_over(self) -> None:
        now = time.monotonic()
        if now - self._window_began > _WINDOW:
            self._window_began = now
            self._bytes = self._messages = 0

    # What the page is sent ----------------------------------------------------------------------

    def serverAccept(self, subprotocol: str | None = None) -> None:
        self._end_turn()
        super().serverAccept(subprotocol)

    def serverReject(self) -> None:
        self._end_turn()
        if hasattr(self, "handshake_deferred"):  # daphne fails if it has rejected it before.
            super().serverReject()

    def serverSend(self, content: Any, binary: bool = False) -> None:
        if self._unread.since is None:
            # A page that has read everything may be sent one frame of any length, such as a list.
            self._unread_bytes = 0
        else:
            self._unread_bytes += len(content)
        if self._unread_bytes > self._front.limits.socket_unread_bytes:
            self.transport.abortConnection()
            return
        if binary or self.state != self.STATE_OPEN:
            super().serverSend(content, binary)
        else:
            # Past autobahn, which would frame it anew for each page, and word a line for the log.
            self.transport.write(_framed(content))

    def onPing(self, payload: bytes) -> None:
        if self._unread.since is None:
            super().onPing(payload)

    def check_timeouts(self) -> None:
        since = self._unread.since
        if since is not None and time.monotonic() - since > self._front.limits.request_seconds:
            self.transport.abortConnection()
            return
        super().check_timeouts()

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        if hasattr(self, "server"):  # It has none before its handshake.
            super().onClose(wasClean, code, reason)


class WebSocketFactory(ws_protocol.WebSocketFactory):
    """Makes the websockets of one server."""

    protocol = WebSocketProtocol

    def __init__(self, server_class: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(server_class, *args, **kwargs)
        # `server_class` is the server itself, whose factory for HTTP was made before this one.
        http_factory: HTTPFactory = server_class.http_factory
        self.front = http_factory.front

    def setProtocolOptions(self, **options: Any) -> None:
        """Take daphne's options, but allow pages to send small frames only."""
        options["maxFramePayloadSize"] = self.front.limits.socket_message_bytes
        # It limits what pages are sent, too, and the longest list is longer than daphne's 1 MiB.
        options["maxMessagePayloadSize"] = 0
        super().setProtocolOptions(**options)
