"""Makes the event store's users, each with no more rights than its processes need.

    python -m lepret.deployment.event_store_users

web and workers append and read; the projector reads. None of them can delete, truncate or hide
events, or make users or groups of workers: for those the event store wants a member of `$ops`, and
none of them is one. What is as it should be is left alone, so that this may run before every start.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import json
import ssl
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import quote

from esdbclient import EventStoreDBClient, NewEvent, StreamState
from esdbclient.exceptions import EventStoreDBClientException, NotFound

from lepret.common.event_store_refusals import in_words
from lepret.deployment.keys import ADMIN_PASSWORD, MOUNTED_AT

WEB, PROJECTOR, WORKERS = "lepret-web", "lepret-projector", "lepret-workers"
ADMIN, OPS = "admin", "ops"
_ADMINS: Final = "$admins"
# A stream, and in lists of rights everybody.
_ALL: Final = "$all"
_SETTINGS: Final = "$settings"

# Of each call, in seconds.
_CALL_SECONDS: Final = 5.0
_RETRY_SECONDS: Final = 1.0


class NotSetUp(Exception):
    """The event store cannot be set up; the message says why, in one line."""


class User(NamedTuple):
    """A user of the event store."""

    name: str
    password: str
    groups: Sequence[str] = ()


class _Answer(NamedTuple):
    status: int
    reason: str
    body: bytes


class UsersAPI:
    """The part of the event store's HTTP API that deals with users, as its user `admin` sees it."""

    def __init__(self, host: str, port: int, *, authority: Path, admin_password: str) -> None:
        self._at = (host, port)
        self._tls = ssl.create_default_context(cafile=str(authority))
        self._admin = User(ADMIN, admin_password)

    def groups_of(self, user: User) -> Collection[str] | None:
        """The groups of a user; `None` if the event store does not take this password."""
        answer = self._call("GET", "/users/$current", user)
        if answer.status != HTTPStatus.OK:
            return None
        return set(json.loads(answer.body)["data"]["groups"])

    def put(self, user: User) -> None:
        """Make a user, or give an existing one this password and these groups.

        Raises:
            NotSetUp: the event store refuses.
        """
        body = {"loginName": user.name, "fullName": user.name, "groups": list(user.groups)}
        answer = self._as_admin("POST", "/users/", {**body, "password": user.password})
        if answer.status != HTTPStatus.CONFLICT:
            _expect(answer, HTTPStatus.CREATED, f"user {user.name}")
            return
        path = f"/users/{quote(user.name)}"
        reset = {"newPassword": user.password}
        answer = self._as_admin("POST", f"{path}/command/reset-password", reset)
        _expect(answer, HTTPStatus.OK, f"password of {user.name}")
        answer = self._as_admin("PUT", path, body)
        _expect(answer, HTTPStatus.OK, f"groups of {user.name}")

    def wait_for_admin(self, seconds: float) -> None:
        """Wait until the event store lets `admin` in, which takes a moment at its first start.

        Raises:
            NotSetUp: it does not, or does not answer.
        """
        deadline = time.monotonic() + seconds
        while True:
            try:
                if self.groups_of(self._admin) is not None:
                    return
                reason = f"it does not take the password in {ADMIN_PASSWORD}"
            except (OSError, http.client.HTTPException) as error:
                reason = str(error) or type(error).__name__
            if time.monotonic() > deadline:
                raise NotSetUp(f"The event store does not let {ADMIN} in: {reason}")
            time.sleep(_RETRY_SECONDS)

    def _as_admin(self, method: str, path: str, body: Mapping[str, Any]) -> _Answer:
        return self._call(method, path, self._admin, body)

    def _call(
        self, method: str, path: str, user: User, body: Mapping[str, Any] | None = None
    ) -> _Answer:
        connection = http.client.HTTPSConnection(
            *self._at, timeout=_CALL_SECONDS, context=self._tls
        )
        credentials = base64.b64encode(f"{user.name}:{user.password}".encode()).decode()
        headers = {"Authorization": f"Basic {credentials}", "Accept": "application/json"}
        content = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            content = json.dumps(body)
        try:
            connection.request(method, path, content, headers)
            answer = connection.getresponse()
            return _Answer(answer.status, answer.reason, answer.read())
        finally:
            connection.close()


def _expect(answer: _Answer, status: HTTPStatus, what: str) -> None:
    if answer.status != status:
        raise NotSetUp(f"The event store answered {answer.status} {answer.reason} to the {what}")


def set_up_users(api: UsersAPI, users: Sequence[User]) -> list[str]:
    """Make these users, or bring them up to date; returns the names of those that were not.

    Raises:
        NotSetUp: the event store refuses.
    """
    changed = [user for user in users if api.groups_of(user) != set(user.groups)]
    for user in changed:
        api.put(user)
    return [user.name for user in changed]


def set_up_rights(client: EventStoreDBClient) -> None:
    """Say who may read `$all`, and who may do what with other streams.

    Raises:
        EventStoreDBClientException: the event store refuses, or is away.
    """
    readers = [WEB, PROJECTOR, WORKERS]
    let_read_all(client, readers)
    of_admins = dict.fromkeys(("$r", "$w", "$d", "$mr", "$mw"), _ADMINS)
    of_users = {
        "$r": [_ADMINS, *readers],
        "$w": [_ADMINS, WEB, WORKERS],
        "$mr": [_ADMINS, *readers],
    }
    defaults = {"$userStreamAcl": {**of_admins, **of_users}, "$systemStreamAcl": of_admins}
    last, version = _last(client, _SETTINGS)
    if last != defaults:
        _append(client, _SETTINGS, version, "update-default-acl", defaults)


def let_read_all(client: EventStoreDBClient, users: Sequence[str]) -> list[str]:
    """Let these users read `$all`, beside those who may; returns the names of those who could not.

    Raises:
        EventStoreDBClientException: the event store refuses, or is away.
    """
    metadata, version = _last(client, f"$${_ALL}")
    acl = metadata.get("$acl", {})
    readers = acl.get("$r", _ADMINS)
    readers = [readers] if isinstance(readers, str) else readers
    new = [] if _ALL in readers else [user for user in users if user not in readers]
    if new:
        acl = {**acl, "$r": [*readers, *new]}
        _append(client, f"$${_ALL}", version, "$metadata", {**metadata, "$acl": acl})
    return new


def _last(
    client: EventStoreDBClient, stream: str
) -> tuple[dict[str, Any], int | Literal[StreamState.NO_STREAM]]:
    try:
        (last,) = client.get_stream(stream, backwards=True, limit=1, timeout=_CALL_SECONDS)
    except NotFound:
        return {}, StreamState.NO_STREAM
    return json.loads(last.data), last.stream_position


def _append(
    client: EventStoreDBClient,
    stream: str,
    version: int | Literal[StreamState.NO_STREAM],
    event_type: str,
    data: Mapping[str, Any],
) -> None:
    event = NewEvent(event_type, json.dumps(data).encode())
    client.append_to_stream(stream, current_version=version, events=[event], timeout=_CALL_SECONDS)


def main() -> None:
    parser = argparse.ArgumentParser(prog="event_store_users", description=__doc__)
    parser.add_argument("--host", default="eventstore")
    parser.add_argument("--port", type=int, default=2113)
    parser.add_argument("--keys", type=Path, default=Path(MOUNTED_AT))
    parser.add_argument("--wait", type=float, default=60.0, metavar="SECONDS")
    options = parser.parse_args()
    try:
        _set_up(options.host, options.port, options.keys, options.wait)
    except OSError as error:
        sys.exit(f"The event store cannot be set up: {error}")
    except NotSetUp as error:
        sys.exit(str(error))


def _set_up(host: str, port: int, keys: Path, seconds: float) -> None:
    def password(of: str) -> str:
        return (keys / f"EVENTSTORE_{of}_PASSWORD").read_text()

    authority, admin_password = keys / "ca.crt", password("ADMIN")
    api = UsersAPI(host, port, authority=authority, admin_password=admin_password)
    api.wait_for_admin(seconds)
    users = [
        User(OPS, password("OPS"), ["$ops"]),
        User(WEB, password("WEB")),
        User(PROJECTOR, password("PROJECTOR")),
        User(WORKERS, password("WORKERS")),
    ]
    for name in set_up_users(api, users):
        sys.stdout.write(f"set up {name}\n")
    client = EventStoreDBClient(
        f"esdb://{ADMIN}:{admin_password}@{host}:{port}?tls=true&tlsCaFile={authority}"
    )
    try:
        set_up_rights(client)
    except EventStoreDBClientException as error:
        why = in_words(error, client.connection_spec) or type(error).__name__
        raise NotSetUp(f"The event store refuses the rights: {why}") from error
    finally:
        client.close()
    sys.stdout.write("the event store's users are ready\n")


if __name__ == "__main__":
    main()
