"""Fixtures for servers (event store, Valkey, PostgreSQL) and databases, started when first used."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from channels import DEFAULT_CHANNEL_LAYER
from channels.layers import channel_layers
from esdbclient.exceptions import EventStoreDBClientException
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from pytest_django import DjangoDbBlocker, Settings

from lepret import settings as project_settings
from lepret.common.event_store_client import close_event_store_client, event_store_client
from loans import dependencies
from tests.support.event_store import (
    EventStore,
    RunningEventStore,
    any_event_store,
    running_event_store,
)
from tests.support.postgresql import RunningPostgreSQL, running_postgresql
from tests.support.processes import PROJECT, free_port, wait_until
from tests.support.read_models import ReadModelsDatabase, read_models_at
from tests.support.valkey import RunningValkey, running_valkey

# How long an example takes depends more on the machine, and on hypothesis's caches, than on what is
# tested.
hypothesis_settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
hypothesis_settings.load_profile("any machine")


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: tests wait for other processes, which need the cores, too."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Unit tests have one try: they wait for nothing that a busy machine could delay."""
    for item in items:
        if item.path.is_relative_to(PROJECT / "tests" / "unit"):
            item.add_marker(pytest.mark.flaky(reruns=0))


@pytest.fixture(autouse=True)
def _policies_of_this_test_alone() -> Iterator[None]:
    """Versions of the lending policy are kept for a minute; the next test may have others."""
    yield
    # Imported late: plugins are loaded before Django's models can be.
    from readmodels.policies import known_policy  # noqa: PLC0415

    known_policy.cache_clear()


@pytest.fixture(scope="session")
def shared_event_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EventStore]:
    """One event store for all tests that look only at streams of their own."""
    with any_event_store(tmp_path_factory.mktemp("events")) as store:
        yield store


@pytest.fixture
def streams(shared_event_store: EventStore, settings: Settings) -> Iterator[None]:
    """The application uses the shared event store: for tests that look at one stream each."""
    yield from _used(shared_event_store, settings)


@pytest.fixture
def event_store_port() -> int:
    """The port of the test's own event store; 0: any free port."""
    return 0


@pytest.fixture
def event_store(
    tmp_path: Path, settings: Settings, event_store_port: int
) -> Iterator[RunningEventStore]:
    """The application uses an event store of this test's own: for tests that look at `$all`."""
    with running_event_store(tmp_path / "events", event_store_port) as store:
        for _ in _used(store, settings):
            wait_until(_event_store_answers)
            yield store


def _event_store_answers() -> bool:
    # gRPC may first try a connection to an earlier test's store on the same port.
    try:
        event_store_client().get_commit_position(timeout=10)
    except EventStoreDBClientException:
        return False
    return True


@pytest.fixture
def no_event_store(streams: None, settings: Settings) -> Iterator[None]:
    """The event store is down: nothing listens at its address."""
    close_event_store_client()
    settings.EVENTSTORE_URI = f"esdb://127.0.0.1:{free_port()}?tls=false"
    yield
    close_event_store_client()


def _used(store: EventStore, settings: Settings) -> Iterator[None]:
    settings.EVENTSTORE_URI = store.uri
    dependencies.event_store.cache_clear()
    dependencies.policies.cache_clear()
    dependencies.credit_bureau.cache_clear()
    yield
    close_event_store_client()


@pytest.fixture(scope="session")
def shared_valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningValkey]:
    with running_valkey(tmp_path_factory.mktemp("valkey")) as valkey:
        yield valkey


@pytest.fixture
def channel_layer(shared_valkey: RunningValkey, settings: Settings) -> Iterator[None]:
    """The application's channel layer is a real Valkey, which also knows who is present."""
    settings.PRESENCE_URL = shared_valkey.url
    settings.CHANNEL_LAYERS = {
        DEFAULT_CHANNEL_LAYER: {
            **project_settings.CHANNEL_LAYERS[DEFAULT_CHANNEL_LAYER],
            "CONFIG": {"hosts": [shared_valkey.url]},
        }
    }
    channel_layers.backends.clear()
    yield
    channel_layers.backends.clear()


@pytest.fixture
def valkey(tmp_path: Path, settings: Settings) -> Iterator[RunningValkey]:
    """A Valkey of this test's own, with the options that the project's settings have."""
    layer = project_settings.CHANNEL_LAYERS[DEFAULT_CHANNEL_LAYER]
    with running_valkey(tmp_path) as valkey:
        settings.PRESENCE_URL = valkey.url
        host = {**layer["CONFIG"]["hosts"][0], "address": valkey.url}
        settings.CHANNEL_LAYERS = {DEFAULT_CHANNEL_LAYER: {**layer, "CONFIG": {"hosts": [host]}}}
        channel_layers.backends.clear()
        yield valkey
        channel_layers.backends.clear()


@pytest.fixture(scope="session")
def postgresql() -> Iterator[RunningPostgreSQL]:
    with running_postgresql() as server:
        yield server


@pytest.fixture
def _keeps_signal_handlers() -> Iterator[None]:
    """Restores pytest's signal handlers, which a command replaces."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file for tests to copy. The first of them creates it, with tables."""
    return tmp_path_factory.mktemp("template") / "readmodels.sqlite3"


@pytest.fixture(scope="session")
def postgresql_template(postgresql: RunningPostgreSQL) -> list[str]:
    """The URL of a database for tests to copy, once the first of them has created it."""
    return []


@pytest.fixture(params=["sqlite", "postgresql"])
def read_models(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    settings: Settings,
    django_db_blocker: DjangoDbBlocker,
) -> Iterator[ReadModelsDatabase]:
    """Read models in a database of this test's own, once in SQLite and once in PostgreSQL.

    Not pytest-django's test database: threads and other processes see what is committed here.
    """
    with django_db_blocker.unblock(), ExitStack() as afterwards:
        if request.param == "sqlite":
            template = request.getfixturevalue("sqlite_template")
            url = _copy_of_sqlite(template, tmp_path / "readmodels.sqlite3", settings)
        else:
            server = request.getfixturevalue("postgresql")
            templates = request.getfixturevalue("postgresql_template")
            url = _copy_in_postgresql(server, templates, settings)
            afterwards.callback(server.end_sessions, url)
        with read_models_at(url, settings, is_migrated=True) as database:
            yield database


def _copy_of_sqlite(template: Path, copy: Path, settings: Settings) -> str:
    if not template.exists():
        with read_models_at(f"sqlite:///{template}", settings):
            pass
    shutil.copy(template, copy)
    return f"sqlite:///{copy}"


def _copy_in_postgresql(server: RunningPostgreSQL, templates: list[str], settings: Settings) -> str:
    if not templates:
        templates.append(server.new_database())
        with read_models_at(templates[0], settings):
            pass
    return server.new_database(like=templates[0])
