"""Marks an event store as a demo's: `python -m lepret.demo.event_store_claim`.

`lepret.demo.event_store` starts it, and gives it the URI on standard input.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Final
from uuid import UUID

from esdbclient import EventStoreDBClient, NewEvent, StreamState
from esdbclient.connection_spec import ConnectionSpec
from esdbclient.exceptions import NotFound

from lepret.common.event_store_connection import SharedClient
from lepret.common.event_store_refusals import in_words
from lepret.demo.event_store import NOT_A_DEMOS, OWN

MARK: Final = "made-by-a-lepret-demo"
# Always the same, so that a store is marked once.
_MARK_ID: Final = UUID("5d3f6a0e-6f0f-4f7c-9d2f-0a54e3a1c7b1")
_SECONDS: Final = 10.0


def _claim(client: EventStoreDBClient, *, is_own: bool) -> int:
    # System events do not count.
    if not is_own and not _is_marked(client) and any(client.read_all(limit=1, timeout=_SECONDS)):
        return NOT_A_DEMOS
    _mark(client)
    return 0


def _mark(client: EventStoreDBClient) -> None:
    client.append_to_stream(
        MARK,
        current_version=StreamState.ANY,
        events=[NewEvent(type="MadeByADemo", data=b"{}", id=_MARK_ID)],
        timeout=_SECONDS,
    )


def _is_marked(client: EventStoreDBClient) -> bool:
    try:
        return bool(client.get_stream(MARK, limit=1, timeout=_SECONDS))
    except NotFound:
        return False


def _main() -> int:
    uri = sys.stdin.read()
    try:
        with SharedClient(uri) as client:
            return _claim(client, is_own=OWN in sys.argv)
    except Exception as error:  # noqa: BLE001 (whatever it is; it may quote a password)
        sys.stdout.write(_why(error, uri))
        return 1


def _why(error: Exception, uri: str) -> str:
    with suppress(ValueError):  # The URI is none, which the error says, too.
        if why := in_words(error, ConnectionSpec(uri)):
            return why
    return f"the event store cannot be looked into ({type(error).__qualname__})"


if __name__ == "__main__":
    sys.exit(_main())
