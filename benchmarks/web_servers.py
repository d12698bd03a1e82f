"""Web servers for benchmarks, which run beside a demo's own and serve more."""

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
    """A web server for `application`, with the demo's settings.

    `environment` has the settings that differ.

    Raises:
        AssertionError: it was not ready within `SECONDS_TO_START`.
    """
    own = {"LEPRET_DATA_DIR": str(demo.data_dir), **environment}
    with running_daphne({**demo.environment, **demo.published, **own}, application) as web:
        wait_until(web.is_ready, SECONDS_TO_START)
        yield web
