"""The project's settings with longer waits, for processes that tests start."""

from __future__ import annotations

from lepret.settings import *  # noqa: F403

READ_MODEL_WAIT_SECONDS = 50.0
LIVE_HEARTBEAT_SECONDS = 600.0
