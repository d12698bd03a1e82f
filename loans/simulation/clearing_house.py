"""The credit bureau's HTTP server."""

from __future__ import annotations

import re
import socket
import socketserver
import struct
import sys
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import BaseModel, ConfigDict, ValidationError

from loans.domain.commands import NationalId
from loans.simulation.book import Book, OtherPerson
from loans.simulation.manners import JSON, Behaviour, Manners, NoReply, Reply

LONGEST_BODY_BYTES: Final = 4 * 1024
MOST_BYTES_PASSED_OVER: Final = 1024 * 1024
# A connection on which nothing comes is closed, and nobody waits in vain for longer.
SECONDS_OF_SILENCE: Final = 60.0

_UUID: Final = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


class ClearingHouse(ThreadingHTTPServer):
    """The server. It listens from the start, and answers in `serve_forever`.

    Port 0 takes a free one.

    Raises:
        OSError: it cannot listen there.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, host: str, port: int, manners: Manners) -> None:
        self.manners = manners
        self.book = Book()
        self.address_family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        super().__init__((str(address[0]), int(address[1])), _Handler)

    @property
    def url(self) -> str:
        """Its address, without a slash at the end."""
        host, port = str(self.server_address[0]), self.server_address[1]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def server_bind(self) -> None:
        # The base class also looks up the host's name, which can take its time.
        socketserver.TCPServer.server_bind(self)

    def handle_error(self, request: Any, client_address: Any) -> None:
        # Clients may hang up: they have time-outs.
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Refused(Exception):
    """An answer of the kind 4xx, for what the client has done wrong."""

    def __init__(self, status: HTTPStatus, error: str, **headers: str) -> None:
        super().__init__(error)
        self.reply = Reply.of({"error": error}, status, *headers.items())


class _Ask(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", hide_input_in_errors=True)

    national_id: NationalId


class _Handler(BaseHTTPRequestHandler):
    server: ClearingHouse
    protocol_version = "HTTP/1.1"
    timeout = SECONDS_OF_SILENCE
    disable_nagle_algorithm = True  # headers and body are two writes

    def do_any(self) -> None:
        try:
            body = self._body()
            behaviour = self._action()(body)
        except _Refused as refused:
            behaviour = refused.reply
        self._behave(behaviour)

    # By these names the base class finds it; other methods end in `send_error`.
    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_any  # noqa: N815

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        # The base class tells what it has refused to read, as a page, and quotes from it.
        status = HTTPStatus(code)
        if status is HTTPStatus.NOT_IMPLEMENTED:
            status = HTTPStatus.METHOD_NOT_ALLOWED
        self.request_version = self.protocol_version  # or there would be no headers
        self.close_connection = True
        self._send(Reply.of({"error": status.phrase}, status))

    def log_message(self, *_: object) -> None:
        # Paths, too, could hold what is nobody's business.
        pass

    # What is asked for ------------------------------------------------------------------

    def _body(self) -> bytes:
        if "Transfer-Encoding" in self.headers:
            self.close_connection = True
            raise _Refused(HTTPStatus.LENGTH_REQUIRED, "send the body with a Content-Length")
        length = self.headers.get("Content-Length", "0")
        if not re.fullmatch("[0-9]{1,9}", length):
            self.close_connection = True
            raise _Refused(HTTPStatus.BAD_REQUEST, "the Content-Length is no number of bytes")
        if int(length) > LONGEST_BODY_BYTES:
            # A connection that is closed before all was read is reset, and the answer lost.
            self.rfile.read(min(int(length), MOST_BYTES_PASSED_OVER))
            self.close_connection = True
            raise _Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the body is too long")
        return self.rfile.read(int(length))

    def _action(self) -> Callable[[bytes], Behaviour]:
        actions = {
            "/scores": ("POST", self._score),
            "/healthz": ("GET", self._health),
            "/asks": ("GET", self._asks),
        }
        path = urlsplit(self.path).path
        if path not in actions:
            raise _Refused(HTTPStatus.NOT_FOUND, f"there are {', '.join(actions)}")
        method, action = actions[path]
        if self.command != method:
            error = f"only {method} is allowed here"
            raise _Refused(HTTPStatus.METHOD_NOT_ALLOWED, error, Allow=method)
        return action

    def _health(self, _: bytes) -> Behaviour:
        return Reply.of({"status": "ok"})

    def _asks(self, _: bytes) -> Behaviour:
        return Reply.of(self.server.book.summary())

    def _score(self, body: bytes) -> Behaviour:
        key, national_id = self._key(), self._national_id(body)
        book, manners = self.server.book, self.server.manners
        try:
            asks_before = book.ask(key, national_id)
            time.sleep(manners.latency)
            misbehaviour = manners.misbehaviour(key, asks_before)
            return misbehaviour or Reply.of({"score": book.answer(key, national_id)})
        except OtherPerson:
            error = "this Idempotency-Key was used to ask about somebody else"
            raise _Refused(HTTPStatus.UNPROCESSABLE_ENTITY, error) from None

    def _key(self) -> UUID:
        key = self.headers.get("Idempotency-Key", "").strip('"')
        if not _UUID.fullmatch(key):
            raise _Refused(HTTPStatus.BAD_REQUEST, "send an Idempotency-Key, which is a UUID")
        return UUID(key)

    def _national_id(self, body: bytes) -> str:
        if self.headers.get_content_type() != JSON:
            raise _Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"send {JSON}")
        try:
            return _Ask.model_validate_json(body).national_id
        except ValidationError:
            error = 'send {"national_id": "..."}: six digits and two letters'
            raise _Refused(HTTPStatus.BAD_REQUEST, error) from None

    # What is done about it --------------------------------------------------------------

    def _behave(self, behaviour: Behaviour) -> None:
        match behaviour:
            case Reply():
                self._send(behaviour)
            case NoReply.HANG_UP:
                self._hang_up()
            case NoReply.SAY_NOTHING:
                self._say_nothing()

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        self.send_header("Content-Type", reply.content_type)
        self.send_header("Content-Length", str(len(reply.body)))
        for name, value in reply.headers:
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body)

    def _hang_up(self) -> None:
        # Without lingering a connection that is closed is reset.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    def _say_nothing(self) -> None:
        self.close_connection = True
        self.connection.recv(1)  # until the client hangs up
