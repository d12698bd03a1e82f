"""What `/readyz` says of the projections, and whether it matters to this web server."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

from django.conf import settings

from lepret.common.health import Finding
from readmodels.monitoring.status import Standing
from readmodels.monitoring.status_reader import StandingReader

READ_SECONDS: Final = 2.5

logger = logging.getLogger(__name__)

# How many events wait is not said: one is enough to see that there are some.
_reader = StandingReader(count_up_to=1)


def projections() -> Finding:
    """How each projection stands.

    A web server whose read models are behind is ready all the same, for it takes commands, unless
    `READYZ_MAX_LAG_SECONDS` says how far behind is too far.

    Where nobody knows, nothing is said of them.
    """
    try:
        standings = _reader.read(timeout=READ_SECONDS)
    except Exception as error:  # noqa: BLE001 (what is away, the checks say)
        logger.warning("The standing of projections is not known (%s)", type(error).__qualname__)
        return Finding({}, is_ready=settings.READYZ_MAX_LAG_SECONDS is None)
    document = {name: _document(each) for name, each in standings.items()}
    return Finding(document, is_ready=_is_ready(standings))


def _document(standing: Standing) -> dict[str, Any]:
    return {
        "state": standing.state,
        "position": standing.position,
        "lag_seconds": None if standing.lag is None else round(standing.lag.seconds, 3),
    }


def _is_ready(standings: Mapping[str, Standing]) -> bool:
    max_lag_seconds = settings.READYZ_MAX_LAG_SECONDS
    if max_lag_seconds is None:
        return True
    return not any(each.trouble(max_lag_seconds) for each in standings.values())
