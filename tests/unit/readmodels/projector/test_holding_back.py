"""Which live events are applied at once, and which may wait a moment for others."""

from __future__ import annotations

import pytest

from loans.domain.events import LoanEvent
from readmodels.projections import PROJECTIONS
from readmodels.projections.base import Projection
from readmodels.projector.batches import Concern
from readmodels.projector.follower import Held
from readmodels.projector.received import Received
from readmodels.projector.tuning import Tuning
from tests.support.loans import recorded, recorded_as
from tests.support.projectors import QUEUE, STATUS
from tests.support.sample_events import APPROVED, CHECKED, REQUESTED, REVIEW


def stream(*events: LoanEvent, first: int = 0) -> list[Received]:
    return [
        Received(recorded(event, at=number, revision=number))
        for number, event in enumerate(events, first)
    ]


def applied(number: int) -> list[Received]:
    """A request that begins, with which the queue has nothing to do yet."""
    return [Received(recorded(REQUESTED, at=number, revision=0))]


OF_NO_LOAN = Received(recorded_as("ReservationTaken"))


def concerns(projection: Projection, events: list[Received]) -> bool:
    return any(map(Concern(projection).includes, events))


def test_an_event_that_a_projection_takes_concerns_it() -> None:
    assert concerns(QUEUE, stream(REQUESTED, CHECKED, REVIEW))
    assert concerns(STATUS, stream(REQUESTED))


def test_other_events_of_a_request_without_a_row_do_not_concern_it() -> None:
    assert not concerns(QUEUE, stream(REQUESTED, CHECKED, APPROVED))
    assert not concerns(QUEUE, [OF_NO_LOAN])
    assert not concerns(STATUS, [OF_NO_LOAN])


def test_an_event_that_only_moves_a_rows_revision_concerns_it() -> None:
    assert concerns(QUEUE, stream(CHECKED, first=3))


class Clock:
    """Stands still unless a test moves it."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def held(*batches: list[Received], projection: str, clock: Clock | None = None) -> Held:
    held = Held(PROJECTIONS[projection], Tuning(batch_size=10), clock=clock or Clock())
    for batch in batches:
        held.add(batch)
    return held


def test_events_that_an_open_page_shows_are_applied_at_once() -> None:
    for shown in ("loan_status", "loan_requests"):
        assert held(stream(REQUESTED), projection=shown).are_due()
    assert held(
        stream(REQUESTED, CHECKED), stream(REVIEW, first=2), projection="underwriters_queue"
    ).are_due()


@pytest.mark.parametrize("projection", ["loan_status", "loan_requests"])
def test_what_the_queue_shows_too_is_left_to_it_for_a_moment(projection: str) -> None:
    clock = Clock()
    kept = held(stream(REQUESTED, CHECKED, REVIEW), projection=projection, clock=clock)
    assert kept.seconds_left() == pytest.approx(Tuning().give_way_seconds)
    clock.now += Tuning().give_way_seconds
    assert kept.are_due()
    kept.take()
    # A claim on a request that is in the queue: the row's revision changes.
    kept.add(stream(CHECKED, first=3))
    assert kept.seconds_left() == pytest.approx(Tuning().give_way_seconds)


def test_the_moment_begins_with_the_first_event_that_is_urgent() -> None:
    clock = Clock()
    kept = held([OF_NO_LOAN], projection="loan_status", clock=clock)
    clock.now += 0.05
    kept.add(stream(REVIEW, first=2))
    assert kept.seconds_left() == pytest.approx(Tuning().give_way_seconds)
    clock.now += 0.004
    kept.add(stream(APPROVED, first=3))
    assert kept.seconds_left() == pytest.approx(Tuning().give_way_seconds - 0.004)


def test_what_is_held_under_load_is_held_no_longer_to_give_way() -> None:
    kept = held(projection="loan_status")
    for number in range(Tuning().commits_at_once):
        kept.add(stream(REVIEW, first=number))
        kept.take()
    kept.add(stream(REVIEW, first=9))
    assert kept.seconds_left() == pytest.approx(Tuning().commit_seconds)


def commits_of(kept: Held, clock: Clock, *, every: float, events: int) -> list[list[float]]:
    """How long the events of each commit waited, if one comes `every` so many seconds."""
    commits: list[list[float]] = []
    came: list[float] = []
    while events or came:
        if events and clock.now >= 1000.0 + every * (total := sum(map(len, commits)) + len(came)):
            kept.add(applied(total))
            came.append(clock.now)
            events -= 1
        if kept.are_due():
            assert len(kept.take()) == len(came)
            commits.append([clock.now - each for each in came])
            came = []
        clock.now += 0.001
    return commits


def test_under_load_events_that_a_page_shows_share_commits() -> None:
    clock, tuning = Clock(), Tuning(busy_events=1_000_000)
    commits = commits_of(Held(STATUS, tuning, clock=clock), clock, every=0.001, events=1000)
    assert sum(map(len, commits)) == 1000
    expected = 1.0 / tuning.commit_seconds
    assert len(commits) == pytest.approx(expected, abs=tuning.commits_at_once)


@pytest.mark.parametrize(
    ("projection", "longest"),
    [
        ("loan_status", Tuning().hold_seconds),
        ("search_words", Tuning().longest_hold_seconds),
    ],
)
def test_the_more_events_share_a_commit_the_longer_the_next_are_held(
    projection: str, longest: float
) -> None:
    def commits(tuning: Tuning) -> list[list[float]]:
        clock = Clock()
        kept = Held(PROJECTIONS[projection], tuning, clock=clock)
        return commits_of(kept, clock, every=0.001, events=3000)

    at_one_rate, slower = commits(Tuning(busy_events=1_000_000)), commits(Tuning())
    assert len(slower) < len(at_one_rate) / 2
    assert max(map(max, slower)) == pytest.approx(longest, abs=0.002)


@pytest.mark.parametrize("a_second", [1, 10, 45])
def test_with_some_events_a_second_a_page_shows_each_at_once(a_second: int) -> None:
    clock = Clock()
    kept = Held(STATUS, Tuning(), clock=clock)
    commits = commits_of(kept, clock, every=1 / a_second, events=100)
    assert len(commits) == 100
    assert max(map(max, commits)) < 0.001


def test_under_load_commits_that_take_long_are_made_less_often() -> None:
    clock = Clock()
    kept = Held(STATUS, Tuning(commit_seconds=0.02, commit_share=0.1), clock=clock)
    commits = 0
    for number in range(1000):
        kept.add(applied(number))
        if kept.are_due():
            kept.take()
            clock.now += 0.01
            kept.note_time(0.01)
            commits += 1
        clock.now += 0.001
    seconds = 1.0 + commits * 0.01
    assert commits == pytest.approx(seconds / 0.1, abs=2)


def test_quick_commits_are_made_no_more_often_for_that() -> None:
    clock = Clock()
    kept = held(projection="loan_status", clock=clock)
    for number in range(Tuning().commits_at_once):
        kept.add(applied(number))
        kept.take()
        kept.note_time(0.0)
    kept.add(stream(REQUESTED))
    assert kept.seconds_left() == pytest.approx(Tuning().commit_seconds)


def test_after_a_long_history_nothing_is_held_for_longer() -> None:
    clock = Clock()
    kept = held(projection="loan_status", clock=clock)
    for number in range(10):
        kept.add(applied(number))
        kept.take()
        clock.now += 60.0
        kept.note_time(60.0)
    kept.add(stream(REQUESTED))
    assert kept.seconds_left() <= Tuning().hold_seconds
    kept.take()
    clock.now += 1.0
    for number in range(Tuning().commits_at_once):
        kept.add(applied(number))
        assert kept.are_due()
        kept.take()


def test_where_nothing_is_held_any_event_is_news() -> None:
    assert held(projection="loan_status").hastened_by is None


def test_what_is_held_is_hastened_by_what_a_page_shows() -> None:
    kept = held([OF_NO_LOAN], stream(REQUESTED), projection="underwriters_queue")
    hastens = kept.hastened_by
    assert hastens is not None
    assert not hastens(OF_NO_LOAN)
    # It is the second event of a request that began with what is held: there is no row of it.
    assert not any(map(hastens, stream(CHECKED, first=1)))
    assert any(map(hastens, stream(REVIEW, first=2)))


@pytest.mark.parametrize("projection", ["search_words", "loan_status"])
def test_neither_what_no_page_shows_nor_what_is_urgent_is_hastened(projection: str) -> None:
    hastens = held(stream(REQUESTED), projection=projection).hastened_by
    assert hastens is not None
    assert not any(map(hastens, [OF_NO_LOAN, *stream(CHECKED, APPROVED, first=1)]))


def test_after_a_pause_the_first_few_commits_are_made_at_once() -> None:
    clock = Clock()
    kept = held(projection="loan_status", clock=clock)
    for _ in range(3):
        for number in range(Tuning().commits_at_once):
            kept.add(applied(number))
            assert kept.are_due()
            kept.take()
        kept.add(stream(REQUESTED))
        assert not kept.are_due()
        assert 0 < kept.seconds_left() <= Tuning().commit_seconds
        clock.now += kept.seconds_left()
        assert kept.are_due()
        kept.take()
        clock.now += 1.0


@pytest.mark.parametrize("projection", ["search_words", "parked_credit_checks"])
def test_events_that_no_page_shows_are_held_for_a_moment(projection: str) -> None:
    clock = Clock()
    kept = held(stream(REQUESTED, CHECKED, APPROVED), projection=projection, clock=clock)
    assert not kept.are_due()
    clock.now += kept.seconds_left()
    assert kept.are_due()


def test_further_events_do_not_extend_the_moment() -> None:
    clock = Clock()
    kept = held([OF_NO_LOAN], projection="loan_status", clock=clock)
    seconds = kept.seconds_left()
    clock.now += seconds / 2
    kept.add([OF_NO_LOAN])
    assert kept.seconds_left() == pytest.approx(seconds / 2)


def test_events_that_change_nothing_are_held() -> None:
    assert not held([OF_NO_LOAN], projection="underwriters_queue").are_due()


def test_a_full_batch_is_not_held() -> None:
    assert held([OF_NO_LOAN] * 10, projection="loan_requests").are_due()


def test_held_events_are_taken_in_order_and_once() -> None:
    first, second = stream(REQUESTED, CHECKED), stream(APPROVED, first=2)
    kept = held(first, second, projection="loan_requests")
    assert kept.take() == [*first, *second]
    assert kept.take() == []
    assert not kept.are_due()
    assert kept.seconds_left() == Tuning().poll_seconds


def test_large_events_are_applied_before_they_are_many() -> None:
    batch = stream(REQUESTED, CHECKED)
    few = Held(PROJECTIONS["search_words"], Tuning(batch_bytes=10_000), clock=Clock())
    few.add(batch)
    assert not few.are_due()
    few.add([Received(recorded_as("LoanRequested", b"x" * 10_000))])
    assert few.are_due()
    few.take()
    few.add(batch)
    assert not few.are_due()
