"""Web servers for benchmarks: they belong to a demo, and serve more than the demo's own does."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Final

from tests.support.demo import Demo
from tests.support.processes import wait_until
from tests.support.web_servers import Daphne, running_daphne

SECONDS_TO_START: Final = 60.0


@contextlib.contextmanager
def running_web_server(demo: Demo, application: str, **environment: str) -> Iterator[Daphne]:
    """A web server beside the demo's own, started as that one is, which serves `application`.

    `environment` has the settings in which it differs from the demo.

    Raises:
        AssertionError: it was not ready within `SECONDS_TO_START`.
    """
    own = {"LEPRET_DATA_DIR": str(demo.data_dir), **environment}
    with running_daphne({**demo.environment, **demo.published, **own}, application) as web:
        wait_until(web.is_ready, SECONDS_TO_START)
        yield web
