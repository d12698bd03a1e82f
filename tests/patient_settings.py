"""The project's settings as they come from the environment, for processes that wait longer."""

from __future__ import annotations

from lepret.settings import *  # noqa: F403

READ_MODEL_WAIT_SECONDS = 6.0
