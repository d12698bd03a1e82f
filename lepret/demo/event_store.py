"""Which event stores are a demo's own: those that were empty when a demo first used them.

A demo's workers decide, by made-up scores, whatever waits for a credit check in its event store.

A process of its own looks into it: gRPC's threads must not be in one that starts others.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

# What the other process is told, and its exit status.
OWN: Final = "--own"
NOT_A_DEMOS: Final = 3
_PROJECT: Final = Path(__file__).resolve().parents[2]
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
            [sys.executable, "-m", f"{__name__}_claim", *([OWN] if is_own else [])],
            cwd=_PROJECT,
            input=uri,
            text=True,
            capture_output=True,
            check=False,
            timeout=_SECONDS_IN_ALL,
        )
    except subprocess.TimeoutExpired:
        raise EventStoreRefused(f"{variable}: the event store does not answer") from None
    if process.returncode == NOT_A_DEMOS:
        raise EventStoreRefused(
            f"{variable} names an event store that is not a demo's (it has events), and a demo "
            "decides on loan requests by made-up scores; name an empty one, or none"
        )
    if process.returncode:
        raise EventStoreRefused(f"{variable}: {process.stdout.strip()}")
