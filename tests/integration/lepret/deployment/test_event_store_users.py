"""The event store's users, set up over TLS as `docker-compose.yml` does.

The embedded event store has neither TLS nor users. Here a front does TLS, passes gRPC on to it, and
answers the HTTP API of users as KurrentDB 26.0 does (UsersController in its source).
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from esdbclient import EventStoreDBClient, NewEvent, StreamState
from pytest_django import Settings

from lepret.common.event_store_client import close_event_store_client, event_store_client
from lepret.deployment.certificates import Certified, certificate_for, new_authority
from tests.support.event_store import RunningEventStore
from tests.support.processes import PATIENCE, PROJECT
from tests.support.tls_front import running_tls_front

USERS = ("ops", "lepret-web", "lepret-projector", "lepret-workers")


@dataclass
class Account:
    """A user as the event store keeps it."""

    password: str
    groups: list[str] = field(default_factory=list)


class Users:
    """KurrentDB's HTTP API of users, over HTTP."""

    def __init__(self) -> None:
        self.accounts = {
            "admin": Account("admin-password", ["$admins"]),
            "ops": Account("ops-password", ["$ops"]),
        }
        self.calls: list[str] = []
        users = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                users.answer(self)

            do_POST = do_PUT = do_GET  # noqa: N815

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self._thread = Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(PATIENCE)

    def answer(self, call: BaseHTTPRequestHandler) -> None:
        length = int(call.headers.get("Content-Length") or 0)
        body = json.loads(call.rfile.read(length) or "{}")
        credentials = base64.b64decode(call.headers["Authorization"].removeprefix("Basic "))
        caller, _, password = credentials.decode().partition(":")
        status, details = HTTPStatus.UNAUTHORIZED, b""
        if caller in self.accounts and self.accounts[caller].password == password:
            status = self._status(call, caller, body)
            groups = self.accounts[caller].groups
            details = json.dumps({"data": {"loginName": caller, "groups": groups}}).encode()
        call.send_response(status)
        call.send_header("Content-Length", str(len(details)))
        call.end_headers()
        call.wfile.write(details)

    def _status(
        self, call: BaseHTTPRequestHandler, caller: str, body: dict[str, Any]
    ) -> HTTPStatus:
        if (call.command, call.path) == ("GET", "/users/$current"):
            return HTTPStatus.OK
        self.calls.append(f"{call.command} {call.path}")
        if "$admins" not in self.accounts[caller].groups:
            return HTTPStatus.UNAUTHORIZED
        return self._change(call.command, call.path, body)

    def _change(self, method: str, path: str, body: dict[str, Any]) -> HTTPStatus:
        if (method, path) == ("POST", "/users/"):
            if body["loginName"] in self.accounts:
                return HTTPStatus.CONFLICT
            self.accounts[body["loginName"]] = Account(body["password"], body["groups"])
            return HTTPStatus.CREATED
        _, _, name, *command = path.split("/")
        if (method, command) == ("POST", ["command", "reset-password"]):
            self.accounts[name].password = body["newPassword"]
        elif (method, command) == ("PUT", []):
            self.accounts[name].groups = body["groups"]
        else:
            return HTTPStatus.NOT_FOUND
        return HTTPStatus.OK


@dataclass(frozen=True)
class Secured:
    """An event store behind TLS, and the directory of keys that its clients have."""

    port: int
    keys: Path
    users: Users

    def set_up(self, *options: str) -> subprocess.CompletedProcess[str]:
        """Run the one-shot service's command."""
        return subprocess.run(
            [
                *(sys.executable, "-m", "lepret.deployment.event_store_users"),
                *("--host", "localhost", "--port", str(self.port), "--keys", str(self.keys)),
                *options,
            ],
            cwd=PROJECT,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def uri(self, user: str = "lepret-web", host: str = "localhost") -> str:
        return f"esdb://{user}:password@{host}:{self.port}?tls=true&tlsCaFile={self.keys}/ca.crt"


@pytest.fixture(scope="module")
def authority() -> Certified:
    return new_authority(datetime.now(UTC))


@pytest.fixture(scope="module")
def certified(authority: Certified) -> Certified:
    return certificate_for("eventstore", authority, datetime.now(UTC))


@pytest.fixture
def secured(
    event_store: RunningEventStore, authority: Certified, certified: Certified, tmp_path: Path
) -> Iterator[Secured]:
    keys = tmp_path / "keys"
    keys.mkdir()
    (keys / "ca.crt").write_text(authority.certificate)
    for name in ("ADMIN", "OPS", "WEB", "PROJECTOR", "WORKERS"):
        (keys / f"EVENTSTORE_{name}_PASSWORD").write_text(f"{name.lower()}-password")
    users = Users()
    try:
        with running_tls_front(certified, grpc_port=event_store.port, http_port=users.port) as port:
            yield Secured(port, keys, users)
    finally:
        users.close()


def last_of(store: RunningEventStore, stream: str) -> tuple[int, Any]:
    with_client = EventStoreDBClient(store.uri)
    try:
        (last,) = with_client.get_stream(stream, backwards=True, limit=1)
    finally:
        with_client.close()
    return last.stream_position, json.loads(last.data)


def test_each_process_gets_a_user_with_the_rights_that_it_needs(
    secured: Secured, event_store: RunningEventStore
) -> None:
    result = secured.set_up()
    assert result.returncode == 0, result.stderr

    accounts = secured.users.accounts
    assert accounts["lepret-web"] == Account("web-password", [])
    assert accounts["lepret-projector"] == Account("projector-password", [])
    assert accounts["lepret-workers"] == Account("workers-password", [])

    readers = ["$admins", "lepret-web", "lepret-projector", "lepret-workers"]
    _, metadata = last_of(event_store, "$$$all")
    assert metadata["$acl"]["$r"] == readers
    _, defaults = last_of(event_store, "$settings")
    users_streams = defaults["$userStreamAcl"]
    assert users_streams["$r"] == users_streams["$mr"] == readers
    assert users_streams["$w"] == ["$admins", "lepret-web", "lepret-workers"]
    assert users_streams["$d"] == users_streams["$mw"] == "$admins"
    assert set(defaults["$systemStreamAcl"].values()) == {"$admins"}


def test_a_second_time_changes_nothing(secured: Secured, event_store: RunningEventStore) -> None:
    secured.set_up()
    calls = len(secured.users.calls)
    result = secured.set_up()
    assert result.returncode == 0, result.stderr
    assert len(secured.users.calls) == calls
    assert [last_of(event_store, name)[0] for name in ("$$$all", "$settings")] == [0, 0]


def test_a_new_password_is_set_and_groups_are_kept(secured: Secured) -> None:
    secured.set_up()
    for name in ("WEB", "WORKERS", "OPS"):
        (secured.keys / f"EVENTSTORE_{name}_PASSWORD").write_text("another-one")
    result = secured.set_up()
    assert result.stdout.splitlines()[:-1] == [f"set up {u}" for u in USERS if u != USERS[2]]
    accounts = secured.users.accounts
    assert accounts["lepret-web"] == Account("another-one", [])
    assert accounts["lepret-workers"] == Account("another-one", [])
    assert accounts["ops"] == Account("another-one", ["$ops"])


def test_groups_that_a_user_should_not_have_are_taken_away(secured: Secured) -> None:
    """As from the workers, which had one in earlier versions."""
    secured.set_up()
    secured.users.accounts["lepret-workers"].groups = ["$ops"]
    result = secured.set_up()
    assert result.stdout.splitlines()[:-1] == ["set up lepret-workers"]
    assert secured.users.accounts["lepret-workers"] == Account("workers-password", [])


def test_others_who_may_read_all_may_still(
    secured: Secured, event_store: RunningEventStore
) -> None:
    client = EventStoreDBClient(event_store.uri)
    client.set_stream_metadata("$all", metadata={"$acl": {"$r": ["audit"], "$w": "$admins"}})
    client.close()
    secured.set_up()
    _, metadata = last_of(event_store, "$$$all")
    assert metadata["$acl"] == {"$r": ["audit", *USERS[1:]], "$w": "$admins"}


def test_a_wrong_password_of_the_admin_is_said_in_one_line(secured: Secured) -> None:
    (secured.keys / "EVENTSTORE_ADMIN_PASSWORD").write_text("s3cret")
    result = secured.set_up("--wait", "0")
    assert result.returncode == 1
    assert result.stderr == (
        "The event store does not let admin in: "
        "it does not take the password in EVENTSTORE_ADMIN_PASSWORD\n"
    )


def test_a_store_that_cannot_be_trusted_gets_no_password(
    secured: Secured, authority: Certified
) -> None:
    (secured.keys / "ca.crt").write_text(new_authority(datetime.now(UTC)).certificate)
    result = secured.set_up("--wait", "0")
    assert result.returncode == 1
    assert "certificate verify failed" in result.stderr
    assert secured.users.calls == []


def test_the_application_reaches_the_store_over_tls(secured: Secured, settings: Settings) -> None:
    settings.EVENTSTORE_URI = secured.uri()
    close_event_store_client()
    event_store_client().append_to_stream(
        "stream",
        current_version=StreamState.NO_STREAM,
        events=[NewEvent("Type", b"{}")],
        timeout=PATIENCE,
    )
    assert event_store_client().get_commit_position(timeout=PATIENCE) > 0
    close_event_store_client()
