"""Management commands that start without waiting for imports, and use a test's servers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.event_store import RunningEventStore
from tests.support.fork_server import ForkServer, fork_server
from tests.support.projectors import environment
from tests.support.read_models import ReadModelsDatabase


@contextmanager
def forks_for(
    event_store: RunningEventStore,
    read_models: ReadModelsDatabase,
    redis_url: str,
    output_dir: Path,
    *,
    settings: str = "lepret.settings",
) -> Iterator[ForkServer]:
    """A fork server whose commands use these servers; their output goes to `output_dir`."""
    variables = environment(event_store, read_models) | {
        "DJANGO_SETTINGS_MODULE": settings,
        "REDIS_URL": redis_url,
        "LEPRET_DATA_DIR": str(output_dir),
    }
    with fork_server(variables, output_dir) as server:
        yield server
