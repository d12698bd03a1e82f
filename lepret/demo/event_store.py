"""Which event stores are a demo's own: those that were empty when a demo first used them.

A demo's workers decide, by made-up scores, whatever waits for a credit check in its event store.

This runs as a process of its own: gRPC's threads must not be in one that starts others.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final
from uuid import UUID

from esdbclient import EventStoreDBClient, NewEvent, StreamState
from esdbclient.exceptions import NotFound

MARK: Final = "made-by-a-lepret-demo"
# Always the same, so that a store is marked once.
_MARK_ID: Final = UUID("5d3f6a0e-6f0f-4f7c-9d2f-0a54e3a1c7b1")
_PROJECT: Final = Path(__file__).resolve().parents[2]
_OWN: Final = "--own"
_NOT_A_DEMOS: Final = 3
_SECONDS: Final = 10.0
_SECONDS_IN_ALL: Final = 45.0


class EventStoreRefused(Exception):
    """An event store cannot be a demo's; the message says why and what to do, in one line."""


def refuse_others_event_store(variable: str, uri: str, *, is_own: bool = False) -> None:
    """Mark the event store at `uri` as a demo's if it is empty or, as is known, the demo's own.

    Raises:
        EventStoreRefused: it is neither empty nor a demo's, or it does not answer.
    """
    try:
        process = subprocess.run(  # noqa: S603 (this module, by this interpreter)
            [sys.executable, "-m", __name__, *([_OWN] if is_own else [])],
            cwd=_PROJECT,
            input=uri,
            text=True,
            capture_output=True,
            check=False,
            timeout=_SECONDS_IN_ALL,
        )
    except subprocess.TimeoutExpired:
        raise EventStoreRefused(f"{variable}: the event store does not answer") from None
    if process.returncode == _NOT_A_DEMOS:
        raise EventStoreRefused(
            f"{variable} names an event store that is not a demo's (it has events), and a demo "
            "decides on loan requests by made-up scores; name an empty one, or none"
        )
    if process.returncode:
        kind = process.stdout.strip()
        raise EventStoreRefused(f"{variable}: the event store cannot be looked into ({kind})")


def _claim(client: EventStoreDBClient, *, is_own: bool) -> int:
    # System events do not count.
    if not is_own and not _is_marked(client) and any(client.read_all(limit=1, timeout=_SECONDS)):
        return _NOT_A_DEMOS
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
    try:
        with EventStoreDBClient(sys.stdin.read()) as client:
            return _claim(client, is_own=_OWN in sys.argv)
    except Exception as error:  # noqa: BLE001 (whatever it is; it may quote a password)
        sys.stdout.write(type(error).__qualname__)
        return 1


if __name__ == "__main__":
    sys.exit(_main())
