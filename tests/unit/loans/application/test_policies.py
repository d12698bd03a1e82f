"""Which policy use cases go by: kept for seconds, and for a minute while nobody can ask."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Barrier, Thread
from typing import Any

import pytest

from loans.adapters.codec import POLICY_NAME, E, StreamId
from loans.adapters.event_store import Stream
from loans.application.policies import (
    KEPT_SECONDS,
    LAST_KNOWN_SECONDS,
    Policies,
    PolicyUnavailable,
)
from loans.domain.lending_policy import POLICY_ID, ConfirmPolicy, PublishPolicy
from loans.domain.policy import VERSION_0, Policy, PolicyInForce
from tests.support.fakes import FakeEventStore
from tests.support.processes import PATIENCE

AT = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)


@dataclass
class CountingStore(FakeEventStore):
    """Counts how often it is read. `hang` is what happens before it answers, or does not."""

    reads: int = 0
    hang: Callable[[], None] = lambda: None

    def load(self, stream: StreamId[E]) -> Stream[E]:
        self.reads += 1
        self.hang()
        return super().load(stream)


@dataclass
class Desk:
    """A process with its policies, whose clock stands still until it is moved."""

    store: CountingStore = field(default_factory=CountingStore)
    now: float = 1_000.0

    def __post_init__(self) -> None:
        self.policies = Policies(self.store, clock=lambda: self.now)

    @property
    def version(self) -> int:
        return self.policies.in_force(AT).version

    def put_in_force(self, version: int = 1, **fields: Any) -> None:
        """As another process does, of which this one is not told."""
        others = Policies(self.store)
        others.carry_out(
            PublishPolicy(
                id=POLICY_ID,
                issued_at=AT,
                by="pat",
                why="Why not.",
                effective_at=AT,
                policy=Policy(**fields),
            )
        )
        others.carry_out(ConfirmPolicy(id=POLICY_ID, issued_at=AT, by="paul", version=version))


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_before_there_is_one_the_built_in_policy_is_in_force(desk: Desk) -> None:
    assert desk.policies.in_force(AT) is VERSION_0


def test_decisions_cost_no_read_for_some_seconds(desk: Desk) -> None:
    for _ in range(10):
        assert desk.version == 0
    assert desk.store.reads == 1
    desk.now += KEPT_SECONDS
    assert desk.version == 0
    assert desk.store.reads == 2


def test_a_change_reaches_every_process_then(desk: Desk) -> None:
    assert desk.version == 0
    desk.put_in_force(approve_from=8)
    assert desk.version == 0
    desk.now += KEPT_SECONDS
    assert desk.version == 1
    assert desk.policies.in_force(AT).policy.approve_from == 8


def test_the_last_known_one_goes_on_for_a_minute(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    desk.put_in_force()
    assert desk.version == 1
    desk.store.is_away = True
    desk.now += LAST_KNOWN_SECONDS - 1
    with caplog.at_level(logging.WARNING):
        assert desk.version == 1
        assert desk.version == 1
    assert caplog.text.count("the last known one goes on") == 1, "it is not asked each time"

    desk.now += 1
    with pytest.raises(PolicyUnavailable):
        desk.policies.in_force(AT)

    desk.store.is_away = False
    assert desk.version == 1


def test_a_store_that_hangs_is_waited_for_once(desk: Desk) -> None:
    def hang() -> None:
        desk.now += KEPT_SECONDS

    assert desk.version == 0
    desk.now += KEPT_SECONDS
    desk.store.is_away, desk.store.hang = True, hang
    assert (desk.version, desk.version) == (0, 0)
    assert desk.store.reads == 2


def test_without_a_known_one_nothing_is_decided(desk: Desk) -> None:
    desk.store.is_away = True
    with pytest.raises(PolicyUnavailable):
        desk.policies.in_force(AT)
    desk.store.is_away = False
    assert desk.version == 0


def test_a_deleted_stream_is_not_taken_for_no_policy(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    desk.put_in_force()
    desk.store.gone.add(POLICY_NAME)
    with caplog.at_level(logging.ERROR), pytest.raises(PolicyUnavailable):
        desk.policies.in_force(AT)
    assert "restore Policy:lending" in caplog.text


def test_threads_ask_once_together(desk: Desk) -> None:
    ready = Barrier(8)

    def ask() -> None:
        ready.wait(PATIENCE)
        desk.policies.in_force(AT)

    threads = [Thread(target=ask) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(PATIENCE)
    assert desk.store.reads == 1


class TestAVersionThatAnEventNames:
    """In a process that has just looked, and will not look again for a while."""

    @pytest.fixture
    def desk(self) -> Desk:
        desk = Desk()
        assert desk.version == 0
        assert desk.policies.version_in_force(AT) is None
        return desk

    def test_is_read_at_once_if_it_is_new(self, desk: Desk) -> None:
        desk.put_in_force(approve_from=9)
        assert desk.policies.named(1) == PolicyInForce(1, Policy(approve_from=9))
        version = desk.policies.version_in_force(AT)
        assert version is not None
        assert (version.number, version.in_force_from) == (1, AT)

    def test_needs_no_event_store_once_it_was_read(self, desk: Desk) -> None:
        desk.put_in_force(approve_from=9)
        desk.policies.named(1)
        desk.put_in_force(version=2)
        desk.store.is_away = True
        assert desk.policies.named(1).policy.approve_from == 9
        assert desk.policies.named(0) == VERSION_0

    def test_is_not_guessed_if_it_cannot_be_read(self, desk: Desk) -> None:
        desk.put_in_force()
        desk.store.is_away = True
        with pytest.raises(PolicyUnavailable):
            desk.policies.named(1)
