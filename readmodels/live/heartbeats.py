"""The messages by which open pages know that they are connected, and what time it is.

Browsers do not show a protocol's pings to scripts, so these are messages of our own.
"""

from __future__ import annotations

import json
import time


def server_time() -> int:
    """The time in milliseconds since 1970, as scripts count it."""
    return round(1000 * time.time())


def heartbeat() -> str:
    """A heartbeat, to be sent now. It begins with a brace, as fragments of HTML never do."""
    return json.dumps({"now": server_time()})


def is_heartbeat(message: str) -> bool:
    """Whether a page was sent a heartbeat and not fragments."""
    return message.startswith("{")
