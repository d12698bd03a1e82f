"""A demo says what is wrong with a service that the environment names, and starts nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from lepret.demo.named_services import ServicesRefused, refuse_services_in_trouble
from tests.support.event_store import RunningEventStore
from tests.support.postgresql import RunningPostgreSQL
from tests.support.processes import free_port
from tests.support.valkey import RunningValkey


@pytest.fixture
def named(
    monkeypatch: pytest.MonkeyPatch,
    shared_event_store: RunningEventStore,
    shared_valkey: RunningValkey,
    postgresql: RunningPostgreSQL,
) -> dict[str, str]:
    urls = {
        "EVENTSTORE_URI": shared_event_store.uri,
        "DATABASE_URL": postgresql.new_database(),
        "REDIS_URL": shared_valkey.url,
    }
    for variable, url in urls.items():
        monkeypatch.setenv(variable, url)
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "lepret.settings")
    return urls


def test_what_works_is_taken_also_an_empty_database(named: dict[str, str]) -> None:
    refuse_services_in_trouble(named)


def test_each_that_does_not_has_a_line(
    named: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    named["EVENTSTORE_URI"] = f"esdb://me:hidden@127.0.0.1:{port}?tls=false"
    named["DATABASE_URL"] = f"postgresql://me:hidden@127.0.0.1:{port}/loans"
    for variable, url in named.items():
        monkeypatch.setenv(variable, url)
    with pytest.raises(ServicesRefused) as refused:
        refuse_services_in_trouble(named)
    place = f"nothing listens at 127.0.0.1:{port}: start"
    assert str(refused.value).splitlines() == [
        f"event_store: {place} the event store, or correct EVENTSTORE_URI",
        f"database: {place} PostgreSQL, or correct DATABASE_URL",
    ]


def test_a_sqlite_file_is_left_alone(tmp_path: Path) -> None:
    refuse_services_in_trouble({"DATABASE_URL": f"sqlite:///{tmp_path}/new.sqlite3"})
    assert list(tmp_path.iterdir()) == []


def test_a_doctor_that_fails_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "missing.settings")
    with pytest.raises(ServicesRefused, match=r"^valkey: `manage\.py doctor valkey` has failed "):
        refuse_services_in_trouble({"REDIS_URL": "redis://localhost"})
