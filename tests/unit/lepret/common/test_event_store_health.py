"""When it is tried whether the event store takes events."""

from __future__ import annotations

from typing import Any

import pytest
from esdbclient.exceptions import ServiceUnavailable

from lepret.common import event_store_health
from lepret.common.event_store_health import TRIED_EVERY_SECONDS, EventStoreCheck, TakesNoEvents


class Store:
    """A client of an event store whose appends can be made to fail."""

    def __init__(self) -> None:
        self.append_failed = False
        self.is_full = False
        self.appends = 0

    def get_commit_position(self, **_: Any) -> int:
        return 1

    def append_to_stream(self, _: str, **options: Any) -> int:
        assert options["events"] == []
        self.appends += 1
        self.append_failed = self.is_full
        if self.is_full:
            raise ServiceUnavailable
        return 1


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    store = Store()
    monkeypatch.setattr(event_store_health, "event_store_client", lambda: store)
    return store


def test_it_is_tried_at_first_and_then_now_and_then(store: Store) -> None:
    clock = Clock()
    check = EventStoreCheck(clock=clock)
    for _ in range(10):
        check(timeout=3)
    assert store.appends == 1
    clock.now += TRIED_EVERY_SECONDS
    check(timeout=3)
    assert store.appends == 2


def test_after_an_append_has_failed_it_is_tried_until_one_works(store: Store) -> None:
    check = EventStoreCheck(clock=Clock())
    check(timeout=3)
    store.is_full = store.append_failed = True
    for _ in range(3):
        with pytest.raises(TakesNoEvents):
            check(timeout=3)
    store.is_full = False
    check(timeout=3)
    check(timeout=3)
    assert store.appends == 5
