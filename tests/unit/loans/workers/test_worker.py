"""What a worker does with each event. The event store is a fake."""

from __future__ import annotations

import logging
import queue
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any, Final, cast
from uuid import uuid4

import pytest
from django.utils import timezone
from esdbclient import RecordedEvent
from esdbclient.exceptions import ConsumerTooSlow, NotFound, ServiceUnavailable

from lepret.common.event_store_connection import SharedClient
from loans.adapters.codec import WrittenByNewerVersion
from loans.adapters.event_store import EventStoreUnavailable, NewerVersionNeeded
from loans.workers.groups import SETTINGS, Group
from loans.workers.redelivery import Redelivery
from loans.workers.worker import TIMINGS, NotYet, Timings, TryAgain, Worker
from tests.support.fakes import denied
from tests.support.processes import PATIENCE, wait_until

SOON: Final = Redelivery(retries=2, longest_delay=0.01)
GROUP: Final = Group(
    "a-group",
    ("SomethingHappened",),
    lambda event: event.stream_name.startswith("Something:"),
)


def happened(*, retry_count: int = 0, age: float = 3600.0) -> RecordedEvent:
    return RecordedEvent(
        type="SomethingHappened",
        data=b"",
        metadata=b"",
        content_type="application/json",
        id=uuid4(),
        stream_name="Something:1",
        stream_position=0,
        commit_position=7,
        prepare_position=7,
        recorded_at=timezone.now() - timedelta(seconds=age),
        retry_count=retry_count,
    )


class FakeSubscription:
    """Yields the events that are put in. Ends when stopped, and fails when cut."""

    def __init__(self) -> None:
        self.answers: list[tuple[str, RecordedEvent]] = []
        self.is_stopped = False
        self._coming: queue.Queue[RecordedEvent | Exception | None] = queue.Queue()

    def put(self, event: RecordedEvent) -> RecordedEvent:
        self._coming.put(event)
        return event

    def cut(self, by: Exception | None = None) -> None:
        self._coming.put(by or ServiceUnavailable("cut"))

    def __iter__(self) -> Iterator[RecordedEvent]:
        while (coming := self._coming.get()) is not None:
            if isinstance(coming, Exception):
                raise coming
            yield coming

    def ack(self, item: RecordedEvent) -> None:
        self.answers.append(("ack", item))

    def nack(self, item: RecordedEvent, action: str) -> None:
        self.answers.append((action, item))

    def stop(self) -> None:
        self.is_stopped = True
        self._coming.put(None)


@dataclass
class FakeClient:
    """Gives each worker that connects a new subscription. Nobody may make the group."""

    subscriptions: list[FakeSubscription] = field(default_factory=list)
    is_away: bool = False
    has_group: bool = True
    attempts: int = 0
    ahead: timedelta = timedelta()

    def store_time(self, **_: Any) -> datetime:
        """Its clock is `ahead` of ours."""
        if self.is_away:
            raise ServiceUnavailable("away")
        return timezone.now() + self.ahead

    def create_subscription_to_all(self, *_: Any, **__: Any) -> None:
        raise denied()

    def read_subscription_to_all(self, *_: Any, **__: Any) -> FakeSubscription:
        self.subscriptions.append(FakeSubscription())
        return self.subscriptions[-1]

    def get_subscription_info(self, *_: Any, **__: Any) -> SimpleNamespace:
        self.attempts += 1
        if self.is_away:
            raise ServiceUnavailable("away")
        if not self.has_group:
            raise NotFound
        return SimpleNamespace(start_from="C:0/P:0", **SETTINGS)

    def list_subscriptions(self, **_: Any) -> list[Any]:
        return []


@dataclass
class FakeHandler:
    """Calls `does` and `gives_up`, and keeps lists of the calls."""

    does: Callable[[RecordedEvent], object] = lambda event: None
    gives_up: Callable[[RecordedEvent], object] = lambda event: None
    handled: list[RecordedEvent] = field(default_factory=list)
    given_up: list[tuple[RecordedEvent, str, int]] = field(default_factory=list)

    def handle(self, event: RecordedEvent) -> None:
        self.handled.append(event)
        self.does(event)

    def give_up(self, event: RecordedEvent, *, reason: str, attempts: int) -> None:
        self.gives_up(event)
        self.given_up.append((event, reason, attempts))


class Working:
    """A worker that runs in a thread, with its handler and its fake client."""

    def __init__(
        self, handler: FakeHandler, redelivery: Redelivery, threads: int, timings: Timings
    ) -> None:
        self.client = FakeClient()
        self.handler = handler
        self.ready = 0
        self._stop = threading.Event()
        worker = Worker(
            GROUP,
            handler,
            connect=lambda: cast(SharedClient, self.client),
            redelivery=redelivery,
            threads=threads,
            timings=timings,
        )
        self._thread = threading.Thread(
            target=worker.run, args=(self._stop, self._count), daemon=True
        )

    @property
    def subscription(self) -> FakeSubscription:
        return self.client.subscriptions[-1]

    @property
    def answers(self) -> list[tuple[str, RecordedEvent]]:
        return self.subscription.answers

    def start(self) -> None:
        self._thread.start()
        wait_until(lambda: self.ready, every=0.002)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()

    def ask_to_stop(self) -> None:
        self._stop.set()

    @property
    def is_running(self) -> bool:
        return self._thread.is_alive()

    def wait_for_answers(self, count: int) -> None:
        wait_until(lambda: len(self.answers) >= count, every=0.002)

    def _count(self) -> None:
        self.ready += 1


Begin = Callable[..., Working]


@pytest.fixture
def begin() -> Iterator[Begin]:
    """Starts workers, and stops them after the test."""
    working: list[Working] = []

    def begin(
        does: Callable[[RecordedEvent], object] = lambda event: None,
        *,
        gives_up: Callable[[RecordedEvent], object] = lambda event: None,
        redelivery: Redelivery = SOON,
        threads: int = 2,
        timings: Timings = TIMINGS,
    ) -> Working:
        working.append(Working(FakeHandler(does, gives_up), redelivery, threads, timings))
        working[-1].start()
        return working[-1]

    yield begin
    for each in working:
        each.stop()


class Raiser:
    """Raises the given exceptions, one for each call, and then none."""

    def __init__(self, *exceptions: Exception) -> None:
        self._exceptions = list(exceptions)

    def __call__(self, event: RecordedEvent) -> None:
        if self._exceptions:
            raise self._exceptions.pop(0)


class TestAnEvent:
    def test_that_was_handled_is_acknowledged(self, begin: Begin) -> None:
        working = begin()
        event = working.subscription.put(happened())
        working.wait_for_answers(1)

        assert working.answers == [("ack", event)]
        assert working.handler.handled == [event]

    def test_of_another_application_is_acknowledged_and_not_handled(self, begin: Begin) -> None:
        working = begin(Raiser(TryAgain("never")))
        foreign = [
            working.subscription.put(replace(happened(), stream_name=f"Shop:{number}"))
            for number in range(300)
        ]
        working.wait_for_answers(300)

        assert working.answers == [("ack", event) for event in foreign]
        assert working.handler.handled == []

    def test_that_failed_is_given_back_after_its_delay(self, begin: Begin) -> None:
        working = begin(Raiser(TryAgain("not now", after=0.02)), redelivery=Redelivery(2, 0.03))
        event = working.subscription.put(happened())
        working.wait_for_answers(1)

        assert working.answers == [("retry", event)]
        assert len(working.handler.handled) == 1

    def test_that_is_held_does_not_hold_up_others(self, begin: Begin) -> None:
        poison = happened()

        def does(event: RecordedEvent) -> None:
            if event.id == poison.id:
                raise TryAgain("never")

        working = begin(does, redelivery=Redelivery(2, PATIENCE), threads=1)
        working.subscription.put(poison)
        others = [working.subscription.put(happened()) for _ in range(20)]
        working.wait_for_answers(20)

        assert working.answers == [("ack", each) for each in others]

    def test_that_failed_for_the_last_time_is_parked_with_the_reason(self, begin: Begin) -> None:
        working = begin(Raiser(TryAgain("nobody there")))
        event = working.subscription.put(happened(retry_count=2))
        working.wait_for_answers(1)

        assert working.answers == [("park", event)]
        assert working.handler.given_up == [(event, "nobody there", 3)]

    def test_that_dead_workers_had_is_not_parked_too_early(self, begin: Begin) -> None:
        working = begin(Raiser(TryAgain("nobody there")), redelivery=Redelivery(2, 0.05))
        event = working.subscription.put(happened(retry_count=40, age=0.0))
        working.wait_for_answers(1)

        assert working.answers == [("retry", event)]

    @pytest.mark.parametrize("days", [-1, 1])
    def test_is_as_old_as_the_stores_clock_says(self, begin: Begin, days: int) -> None:
        """By which it was recorded; that of the worker may be another."""
        working = begin(Raiser(TryAgain("no"), TryAgain("no")), redelivery=Redelivery(2, 0.05))
        working.client.ahead = timedelta(days=days)
        new = working.subscription.put(happened(retry_count=40, age=-86_400.0 * days))
        working.wait_for_answers(1)
        old = working.subscription.put(happened(retry_count=40, age=3600 - 86_400.0 * days))
        working.wait_for_answers(2)

        assert working.answers == [("retry", new), ("park", old)]

    def test_that_raises_any_exception_fails_without_personal_data(
        self, begin: Begin, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.WARNING):
            working = begin(Raiser(KeyError("Zoe Quillfeather")))
            event = working.subscription.put(happened(retry_count=2))
            working.wait_for_answers(1)

        [(_, reason, _)] = working.handler.given_up
        assert reason.startswith("KeyError at test_worker.py:")
        assert working.answers == [("park", event)]
        assert "SomethingHappened at 7: KeyError at test_worker.py:" in caplog.text
        assert "Zoe" not in caplog.text

    def test_is_parked_even_if_give_up_raises(
        self, begin: Begin, caplog: pytest.LogCaptureFixture
    ) -> None:
        working = begin(Raiser(TryAgain("no")), gives_up=Raiser(ValueError("Zoe Quillfeather")))
        event = working.subscription.put(happened(retry_count=2))
        working.wait_for_answers(1)

        assert working.answers == [("park", event)]
        assert "Could not tell that SomethingHappened at 7 is parked: ValueError" in caplog.text
        assert "Zoe" not in caplog.text

    def test_that_comes_too_early_is_kept_and_not_counted(self, begin: Begin) -> None:
        working = begin(Raiser(*[NotYet(0.001)] * 50), threads=1)
        event = working.subscription.put(happened(retry_count=2))
        working.wait_for_answers(1)

        assert working.answers == [("ack", event)]
        assert len(working.handler.handled) == 51


class TestAnEventWhileTheStoreIsDown:
    TIMINGS: Final = Timings(ask_again_after=0.001)

    def test_is_kept_and_not_counted(self, begin: Begin) -> None:
        working = begin(Raiser(*[EventStoreUnavailable()] * 50), timings=self.TIMINGS)
        event = working.subscription.put(happened(retry_count=2))
        working.wait_for_answers(1)

        assert working.answers == [("ack", event)]

    def test_is_parked_when_that_can_be_recorded(self, begin: Begin) -> None:
        gives_up = Raiser(EventStoreUnavailable(), EventStoreUnavailable())
        working = begin(Raiser(TryAgain("no")), gives_up=gives_up, timings=self.TIMINGS)
        event = working.subscription.put(happened(retry_count=2))
        working.wait_for_answers(1)

        assert working.answers == [("park", event)]
        assert len(working.handler.handled) == 1
        assert len(working.handler.given_up) == 1


class TestAnEventForANewerVersion:
    @pytest.mark.parametrize(
        "newer", [NewerVersionNeeded(), WrittenByNewerVersion("LoanRequested", 2)], ids=str
    )
    def test_is_given_back_however_often(
        self, begin: Begin, newer: Exception, caplog: pytest.LogCaptureFixture
    ) -> None:
        working = begin(Raiser(newer))
        event = working.subscription.put(happened(retry_count=900))
        working.wait_for_answers(1)

        assert working.answers == [("retry", event)]
        assert working.handler.given_up == []
        assert "Left SomethingHappened at 7 to a worker of a newer version" in caplog.text

    def test_is_given_back_if_it_turns_out_when_it_is_parked(self, begin: Begin) -> None:
        working = begin(Raiser(TryAgain("no")), gives_up=Raiser(NewerVersionNeeded()))
        event = working.subscription.put(happened(retry_count=2))
        working.wait_for_answers(1)

        assert working.answers == [("retry", event)]


class TestALostSubscription:
    def test_is_replaced(self, begin: Begin, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        working = begin()
        working.subscription.cut()
        wait_until(lambda: working.ready == 2, every=0.002)
        event = working.subscription.put(happened())
        working.wait_for_answers(1)

        assert working.answers == [("ack", event)]
        assert [each.is_stopped for each in working.client.subscriptions] == [True, False]
        lines = Counter(each.getMessage() for each in caplog.records)
        assert lines == {
            "Lost the event store (ServiceUnavailable): trying to come back": 1,
            "Regained the event store": 1,
        }

    def test_for_reading_too_slowly_is_no_loss(
        self, begin: Begin, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        working = begin()
        working.subscription.cut(ConsumerTooSlow())
        wait_until(lambda: working.ready == 2, every=0.002)
        event = working.subscription.put(happened())
        working.wait_for_answers(1)
        assert working.answers == [("ack", event)]
        assert [each.levelname for each in caplog.records] == ["INFO"]

    def test_is_retried_until_the_store_is_back(self, begin: Begin) -> None:
        working = begin()
        working.client.is_away = True
        working.subscription.cut()
        wait_until(lambda: working.client.attempts >= 3, every=0.002)
        working.client.is_away = False
        wait_until(lambda: working.ready == 2, every=0.002)

    def test_drops_the_events_that_are_held(self, begin: Begin) -> None:
        """The event store delivers them again, so this worker must not handle them too."""

        def does(event: RecordedEvent) -> None:
            raise NotYet(0.05)

        working = begin(does, threads=1)
        kept = working.subscription.put(happened())
        wait_until(lambda: working.handler.handled, every=0.002)
        working.subscription.cut()
        wait_until(lambda: working.ready == 2, every=0.002)
        handled = working.handler.handled.count(kept)
        working.handler.does = lambda event: None
        working.subscription.put(happened())
        working.wait_for_answers(1)

        assert working.handler.handled.count(kept) == handled
        assert len(working.answers) == 1

    def test_that_is_silent_is_noticed(self, begin: Begin) -> None:
        working = begin(timings=Timings(probe_after=0.0))
        before = working.client.attempts
        working.client.is_away = True
        wait_until(lambda: working.client.attempts > before, every=0.002)
        working.client.is_away = False
        wait_until(lambda: working.ready >= 2, every=0.002)


class TestAMissingGroup:
    def test_is_waited_for_and_said_once(
        self, begin: Begin, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        working = begin()
        working.client.has_group = False
        working.subscription.cut(by=NotFound())
        tries = working.client.attempts
        wait_until(lambda: working.client.attempts >= tries + 3, every=0.002)
        working.client.has_group = True
        wait_until(lambda: working.ready == 2, every=0.002)

        event = working.subscription.put(happened())
        working.wait_for_answers(1)
        assert working.answers == [("ack", event)]
        missing, found = caplog.messages[-2:]
        assert missing.startswith(f"The event store has no group {GROUP.name}. A user in $ops")
        assert found == f"The group {GROUP.name} is there now"


class TestTheEnd:
    def test_waits_for_running_handlers(self, begin: Begin) -> None:
        may_end = threading.Event()
        working = begin(lambda event: may_end.wait(PATIENCE), threads=1)
        event = working.subscription.put(happened())
        wait_until(lambda: working.handler.handled, every=0.002)
        working.ask_to_stop()
        may_end.set()
        wait_until(lambda: not working.is_running, every=0.002)

        assert working.answers == [("ack", event)]
        assert working.subscription.is_stopped

    def test_leaves_other_events_to_other_workers(self, begin: Begin) -> None:
        may_end = threading.Event()
        timings = Timings(finish_within=0.0)
        working = begin(lambda event: may_end.wait(2 * PATIENCE), threads=1, timings=timings)
        first = working.subscription.put(happened())
        wait_until(lambda: working.handler.handled, every=0.002)
        working.subscription.put(happened())
        working.stop()
        may_end.set()
        working.wait_for_answers(1)

        assert working.answers == [("ack", first)]
        assert working.handler.handled == [first]

    def test_does_not_wait_for_ever(self, begin: Begin) -> None:
        never = threading.Event()
        timings = Timings(finish_within=0.05)
        working = begin(lambda event: never.wait(2 * PATIENCE), threads=1, timings=timings)
        working.subscription.put(happened())
        wait_until(lambda: working.handler.handled, every=0.002)
        working.stop()
        never.set()

        assert working.answers == []

    def test_does_not_wait_for_events_that_are_held(self, begin: Begin) -> None:
        working = begin(Raiser(TryAgain("no")), redelivery=Redelivery(2, PATIENCE * 10))
        working.subscription.put(happened())
        wait_until(lambda: working.handler.handled, every=0.002)
        working.stop()

        assert working.answers == []
