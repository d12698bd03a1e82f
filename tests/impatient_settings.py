"""The project's settings with shorter waits, for processes that tests start."""

from __future__ import annotations

from lepret.settings import *  # noqa: F403
from lepret.settings import DATABASES, READMODELS_DATABASE

_read_models = DATABASES[READMODELS_DATABASE]
if _read_models["ENGINE"].endswith("sqlite3"):
    # How long a writer waits for another, in seconds.
    _read_models["OPTIONS"] = _read_models["OPTIONS"] | {"timeout": 1}

READ_MODEL_WAIT_SECONDS = 0.1
LIVE_HEARTBEAT_SECONDS = 0.5

# How long the circuit breaker stays open, in seconds.
CREDIT_BUREAU_BREAKER_PAUSE_SECONDS = 0.1
