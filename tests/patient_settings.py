"""The project's settings with a longer wait, for processes that tests start."""

from __future__ import annotations

from lepret.settings import *  # noqa: F403

READ_MODEL_WAIT_SECONDS = 6.0
