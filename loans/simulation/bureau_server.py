"""A simulated credit bureau over HTTP.

`POST /scores`, below any path, with `{"national_id": "123456aa"}` and an `Idempotency-Key` (a UUID)
is answered with `{"score": 6, "factors": ["late_payments"], "scored_at": "2026-11-23T09:30:00Z"}`:
the codes of what has lowered the score most, and when it was made. `GET /asks` counts the requests
and the scores for each key; `GET /healthz` shows that the server runs. An "ask" is a request for a
score.
"""

from __future__ import annotations

import json
import socket
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from loans.adapters.credit_bureau import simulated_report
from loans.domain.fields import NationalId

Reply = Callable[[BaseHTTPRequestHandler], None]
# The reply to give instead of a score, if any. Called with the key, and the asks with it so far.
Misbehave = Callable[[UUID, int], Reply | None]


@dataclass(frozen=True)
class HttpReply:
    """Replies with a complete HTTP response."""

    body: bytes = b""
    status: int = 200
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()

    def __call__(self, handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(self.status)
        handler.send_header("Content-Type", self.content_type)
        handler.send_header("Content-Length", str(len(self.body)))
        for name, value in self.headers:
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(self.body)


def answer_in_json(value: object, status: int = 200) -> HttpReply:
    """Replies with this value."""
    return HttpReply(json.dumps(value).encode(), status)


def reset_connection(handler: BaseHTTPRequestHandler) -> None:
    """Replies with a TCP reset."""
    # With a linger time of 0, closing a connection resets it.
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.close_connection = True


def say_nothing(handler: BaseHTTPRequestHandler) -> None:
    """Keeps the connection open until the client closes it."""
    handler.close_connection = True
    handler.connection.recv(1)


class BureauServer(ThreadingTCPServer):
    """Listens once it is made, and replies in `serve_forever`. Port 0 picks a free one.

    Attributes:
        latency: seconds before each reply to an ask.
        misbehave: chooses the reply to each ask.
        asked: how many asks there were with each key.
        answered: how many scores each key got.

    Raises:
        OSError: it cannot listen there.
    """

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self,
        host: str,
        port: int,
        *,
        latency: float = 0.0,
        misbehave: Misbehave = lambda _key, _asks_before: None,
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Handler)
        self.latency = latency
        self.misbehave = misbehave
        self.asked: Counter[UUID] = Counter()
        self.answered: Counter[UUID] = Counter()
        self._national_ids: dict[UUID, str] = {}
        self._scored_at: dict[UUID, datetime] = {}
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """Its address, without a slash at the end."""
        host, port = str(self.server_address[0]), self.server_address[1]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def reply_to(self, key: UUID, national_id: str) -> Reply:
        """Count an ask; after the latency, return the reply to it.

        A key belongs to the first person who gets a score with it.
        """
        with self._lock:
            misbehaviour = self.misbehave(key, self.asked[key])
            self.asked[key] += 1
        time.sleep(self.latency)
        if misbehaviour:
            return misbehaviour
        with self._lock:
            if self._national_ids.setdefault(key, national_id) != national_id:
                error = "this Idempotency-Key was used to ask about somebody else"
                return answer_in_json({"error": error}, 422)
            self.answered[key] += 1
            scored_at = self._scored_at.setdefault(key, datetime.now(UTC))
        report = simulated_report(national_id, key).model_copy(update={"scored_at": scored_at})
        return answer_in_json(report.model_dump(mode="json"))

    def asks(self) -> dict[str, Any]:
        """How many asks and scores there were, in all and by key."""
        with self._lock:
            by_key = {
                str(key): {"asked": asked, "answered": self.answered[key]}
                for key, asked in self.asked.items()
            }
            asked, answered = self.asked.total(), self.answered.total()
        return {"asked": asked, "answered": answered, "by_key": by_key}

    def handle_error(self, request: Any, client_address: Any) -> None:
        # Clients time out and hang up: not an error of this server.
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Ask(BaseModel, extra="forbid"):
    national_id: NationalId


class _Handler(BaseHTTPRequestHandler):
    server: BureauServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body are two writes

    def do_GET(self) -> None:
        match self.path:
            case "/healthz":
                answer_in_json({"status": "ok"})(self)
            case "/asks":
                answer_in_json(self.server.asks())(self)
            case _:
                self._refuse(404, "there are POST /scores, GET /asks and GET /healthz")

    def do_POST(self) -> None:
        try:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            key = UUID(self.headers["Idempotency-Key"])
            national_id = _Ask.model_validate_json(body).national_id
        except (TypeError, ValueError, AttributeError):
            self._refuse(400, 'send an Idempotency-Key (a UUID) and {"national_id": "123456aa"}')
            return
        self.server.reply_to(key, national_id)(self)

    def log_message(self, *_: object) -> None:
        """Log nothing: a path could hold personal data."""

    def _refuse(self, status: int, error: str) -> None:
        answer_in_json({"error": error}, status)(self)
