"""What `/readyz` says about projections, and whether they let the web server be ready."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from django.conf import settings

from lepret.common.health import Finding
from readmodels.monitoring.shared_reader import SharedReader
from readmodels.monitoring.status import ProjectionStatus, read_statuses

READ_SECONDS: Final = 2.5

logger = logging.getLogger(__name__)

# The answer does not say how many events wait: one is enough to tell whether there are any.
_reader = SharedReader(partial(read_statuses, count_up_to=1))


def projections() -> Finding:
    """The status of each projection; of none if it cannot be read.

    A web server whose read models are behind is ready, since it takes commands. But with
    `READYZ_MAX_LAG_SECONDS` set, none may be further behind, stopped, not built or unknown.
    """
    try:
        statuses = _reader.read(timeout=READ_SECONDS)
    except Exception as error:  # noqa: BLE001 (the other checks say what is away)
        logger.warning("The status of projections is unknown (%s)", type(error).__qualname__)
        return Finding({}, is_ready=settings.READYZ_MAX_LAG_SECONDS is None)
    document = {name: _document(each) for name, each in statuses.items()}
    return Finding(document, is_ready=_is_ready(statuses))


def _document(status: ProjectionStatus) -> dict[str, Any]:
    return {
        "state": status.state,
        "position": status.position,
        "lag_seconds": None if status.lag is None else round(status.lag.seconds, 3),
    }


def _is_ready(statuses: Mapping[str, ProjectionStatus]) -> bool:
    max_lag_seconds = settings.READYZ_MAX_LAG_SECONDS
    if max_lag_seconds is None:
        return True
    return not any(each.trouble(max_lag_seconds) for each in statuses.values())
