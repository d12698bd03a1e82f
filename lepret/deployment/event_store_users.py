"""Makes the event store's users, each with no more rights than its processes need.

    python -m lepret.deployment.event_store_users

web appends and reads; the projector reads; the workers also make their groups, for which the event
store wants a member of `$ops`. None of them can delete, truncate or hide events, or make users.
What is as it should be is left alone, so that this may run before every start.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import json
import ssl
import sys
import time
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from esdbclient import EventStoreDBClient, NewEvent, StreamState
from esdbclient.exceptions import EventStoreDBClientException, NotFound

from lepret.deployment.keys import ADMIN_PASSWORD, MOUNTED_AT

WEB, PROJECTOR, WORKERS = "lepret-web", "lepret-projector", "lepret-workers"
ADMIN, OPS = "admin", "ops"
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


class UsersAPI:
    """The part of the event store's HTTP API that deals with users, as its user `admin` sees it."""

    def __init__(self, host: str, port: int, *, authority: Path, admin_password: str) -> None:
        self._at = (host, port)
        self._tls = ssl.create_default_context(cafile=str(authority))
        self._admin = User(ADMIN, admin_password)

    def is_known(self, user: User) -> bool:
        """Whether the event store lets a user in with this password."""
        return self._call("GET", "/users/$current", user).status == HTTPStatus.OK

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
        if user.groups:
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
                if self.is_known(self._admin):
                    return
                reason = f"it does not take the password in {ADMIN_PASSWORD}"
            except (OSError, http.client.HTTPException) as error:
                reason = str(error) or type(error).__name__
            if time.monotonic() > deadline:
                raise NotSetUp(f"The event store does not let {ADMIN} in: {reason}")
            time.sleep(_RETRY_SECONDS)

    def _as_admin(
        self, method: str, path: str, body: Mapping[str, Any]
    ) -> http.client.HTTPResponse:
        return self._call(method, path, self._admin, body)

    def _call(
        self, method: str, path: str, user: User, body: Mapping[str, Any] | None = None
    ) -> http.client.HTTPResponse:
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
            answer.read()
        finally:
            connection.close()
        return answer


def _expect(answer: http.client.HTTPResponse, status: HTTPStatus, what: str) -> None:
    if answer.status != status:
        raise NotSetUp(f"The event store answered {answer.status} {answer.reason} to the {what}")


def set_up_users(api: UsersAPI, users: Sequence[User]) -> list[str]:
    """Make these users, or bring them up to date; returns the names of those that were not.

    Raises:
        NotSetUp: the event store refuses.
    """
    changed = [user for user in users if not api.is_known(user)]
    for user in changed:
        api.put(user)
    return [user.name for user in changed]


def set_up_rights(client: EventStoreDBClient) -> None:
    """Say who may read `$all`, and who may do what with other streams.

    Raises:
        EventStoreDBClientException: the event store refuses, or is away.
    """
    readers = [WEB, PROJECTOR, WORKERS]
    admins = "$admins"
    acl = {"$r": [admins, *readers], "$w": admins, "$d": admins, "$mr": admins, "$mw": admins}
    _append_unless_last(
        client, f"$${_ALL}", NewEvent("$metadata", json.dumps({"$acl": acl}).encode())
    )
    defaults = {
        "$userStreamAcl": {**acl, "$w": [admins, WEB, WORKERS], "$mr": [admins, *readers]},
        "$systemStreamAcl": dict.fromkeys(acl, admins),
    }
    _append_unless_last(
        client, _SETTINGS, NewEvent("update-default-acl", json.dumps(defaults).encode())
    )


def _append_unless_last(client: EventStoreDBClient, stream: str, event: NewEvent) -> None:
    try:
        last = client.get_stream(stream, backwards=True, limit=1, timeout=_CALL_SECONDS)
    except NotFound:
        last = ()
    if not last or json.loads(last[0].data) != json.loads(event.data):
        client.append_to_stream(
            stream, current_version=StreamState.ANY, events=[event], timeout=_CALL_SECONDS
        )


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
    except EventStoreDBClientException as error:
        sys.exit(f"The event store refuses the rights: {type(error).__name__}")
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
        User(WORKERS, password("WORKERS"), ["$ops"]),
    ]
    for name in set_up_users(api, users):
        sys.stdout.write(f"set up {name}\n")
    client = EventStoreDBClient(
        f"esdb://{ADMIN}:{admin_password}@{host}:{port}?tls=true&tlsCaFile={authority}"
    )
    try:
        set_up_rights(client)
    finally:
        client.close()
    sys.stdout.write("the event store's users are ready\n")


if __name__ == "__main__":
    main()
