"""Web servers for benchmarks, which run beside a demo's own and serve more."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Final

from tests.support import web_servers
from tests.support.demo import EVENT_STORE, Demo
from tests.support.event_store import URI
from tests.support.processes import wait_until
from tests.support.web_servers import Daphne, running_daphne

SECONDS_TO_START: Final = 60.0

DAPHNE: Final = "daphne"
SERVERS: Final = {
    DAPHNE: web_servers.DAPHNE,
    "granian": (
        *("granian", "--interface", "asgi", "--host", "127.0.0.1", "--port", "{port}"),
        *("--no-log", "--workers", "1"),
    ),
    "uvicorn": (
        *("uvicorn", "--host", "127.0.0.1", "--port", "{port}"),
        *("--log-level", "warning", "--lifespan", "off"),
    ),
}


@contextlib.contextmanager
def running_web_server(
    demo: Demo, application: str, server: str = DAPHNE, **environment: str
) -> Iterator[Daphne]:
    """A web server for `application`, with the demo's settings.

    `environment` has the settings that differ, and `server` is one of `SERVERS`.

    Raises:
        AssertionError: it was not ready within `SECONDS_TO_START`.
    """
    own = {"LEPRET_DATA_DIR": str(demo.data_dir), **environment}
    variables = {**demo.environment, **demo.published, **own}
    with running_daphne(variables, application, module=SERVERS[server]) as web:
        wait_until(web.is_ready, SECONDS_TO_START)
        yield web


def named_event_store() -> dict[str, str]:
    """The variables of a demo on the event store that `EVENTSTORE_TEST_URI` names, if any.

    The demo takes it if it is empty.
    """
    return {EVENT_STORE: URI} if URI else {}
