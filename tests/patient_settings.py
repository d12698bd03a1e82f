"""The project's settings with longer waits, for processes that tests start."""

from __future__ import annotations

from lepret.settings import *  # noqa: F403
from tests.support.processes import PATIENCE

READ_MODEL_WAIT_SECONDS = PATIENCE - 10  # Less than callers wait for an answer.
LIVE_HEARTBEAT_SECONDS = 600.0
