"""Who may go next."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import closing
from contextvars import ContextVar, copy_context

import pytest

from lepret.common.turns import current_turn, waiting_elsewhere
from lepret.front.fairness import Counted, GivenTurn, LoopShare, TooManyWaiting, Turns
from lepret.front.limits import Limits

LIMITS = Limits(at_once=1, turns=5, turns_per_address=3, unread_per_address=2)


class Requests:
    """Requests by name, which take turns until they are told to end."""

    def __init__(self, loop: asyncio.AbstractEventLoop, limits: Limits) -> None:
        self.now = 0.0
        self.turns = Turns(limits, lambda: self.now, lambda: loop)
        self.working: list[str] = []
        self.given: dict[str, GivenTurn] = {}
        self._ends: dict[str, Callable[[], None]] = {}

    def ask(self, *names: str, is_heavy: bool = False) -> None:
        """Names begin with the address that they are of: `a1`, `a2`, `b1`."""
        for name in names:
            self.turns.ask(name[0], is_heavy=is_heavy, start=self._start(name))

    def end(self, name: str) -> None:
        self.working.remove(name)
        self._ends[name]()

    def _start(self, name: str) -> Callable[[GivenTurn], None]:
        def start(turn: GivenTurn) -> None:
            self.working.append(name)
            self.given[name] = turn
            self._ends[name] = turn.hold()

        return start


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    with closing(asyncio.new_event_loop()) as loop:
        yield loop


@pytest.fixture
def requests(loop: asyncio.AbstractEventLoop) -> Requests:
    return Requests(loop, LIMITS)


def test_an_address_alone_may_have_all_there_is(requests: Requests) -> None:
    requests.ask("a1", "a2", "a3", "a4")
    assert requests.working == ["a1", "a2", "a3"]

    requests.end("a1")
    assert requests.working == ["a2", "a3", "a4"]


def test_answers_that_are_not_read_count_as_turns_of_their_address_only(
    requests: Requests,
) -> None:
    is_read = requests.turns.unread("a")
    requests.ask("a1", "a2", "a3")
    assert requests.working == ["a1"]
    requests.ask("b1", "c1", "d1", "e1")
    assert requests.working == ["a1", "b1", "c1", "d1", "e1"]

    for name in ("a1", "b1", "c1", "d1", "e1"):
        requests.end(name)
    assert requests.working == ["a2"]
    is_read()
    requests.now += 10
    requests.end("a2")
    assert requests.working == ["a3"]


def test_without_reading_there_are_no_more_turns(requests: Requests) -> None:
    is_read, _ = requests.turns.unread("a"), requests.turns.unread("a")
    requests.ask("a1")
    assert requests.working == []

    is_read()
    assert requests.working == ["a1"]


def test_among_others_each_address_has_one_and_they_take_turns(requests: Requests) -> None:
    requests.ask("b1")
    requests.ask("a1", "a2", "a3", "c1", "c2")
    assert requests.working == ["b1", "a1", "c1"]

    requests.end("a1")
    assert requests.working == ["b1", "c1", "a2"]


def test_the_address_that_has_waited_longest_comes_next(loop: asyncio.AbstractEventLoop) -> None:
    requests = Requests(loop, Limits(turns=3))
    requests.ask("b1")
    requests.ask("a1", "a2", "c1", "c2")
    requests.ask("d1")
    requests.end("a1")
    assert requests.working == ["b1", "c1", "d1"]

    requests.end("d1")
    assert requests.working == ["b1", "c1", "a2"]


def test_another_address_need_not_wait_for_the_many_of_one(requests: Requests) -> None:
    requests.ask("b1")
    requests.end("b1")
    requests.ask(*(f"a{number}" for number in range(50)))
    assert requests.working == ["a0"]

    requests.ask("b2")
    assert requests.working == ["a0", "b2"]


def test_after_a_while_an_address_is_alone_again(requests: Requests) -> None:
    requests.ask("b1")
    requests.end("b1")
    requests.now = 6.0
    requests.ask("a1", "a2", "a3")

    assert requests.working == ["a1", "a2", "a3"]


def test_large_bodies_are_handled_one_at_a_time_and_last(requests: Requests) -> None:
    requests.ask("a1", "a2", "a3")
    requests.ask("a4", "a5", is_heavy=True)
    requests.ask("a6")
    requests.end("a1")
    assert requests.working == ["a2", "a3", "a6"]

    requests.end("a2")
    requests.end("a3")
    assert requests.working == ["a6", "a4"]


def test_among_others_large_bodies_have_a_share_of_the_time(
    loop: asyncio.AbstractEventLoop,
) -> None:
    requests = Requests(loop, Limits(heavy_share=0.25))
    requests.ask("b1")
    requests.ask("a1", "a2", is_heavy=True)
    requests.now = 0.1
    requests.end("a1")
    assert requests.working == ["b1"]

    requests.ask("a3")
    assert requests.working == ["b1", "a3"]
    requests.now = 0.39
    requests.end("a3")
    assert requests.working == ["b1"]

    requests.now = 0.41
    loop.call_later(0.4, loop.stop)
    loop.run_forever()
    assert requests.working == ["b1", "a2"]


def test_alone_large_bodies_follow_each_other_at_once(requests: Requests) -> None:
    requests.ask("a1", "a2", is_heavy=True)
    requests.now = 1.0
    requests.end("a1")
    assert requests.working == ["a2"]


def test_a_request_that_only_waits_lets_others_go_on(requests: Requests) -> None:
    requests.ask("b1")
    requests.ask("a1", "a2", "a3")

    def wait() -> None:
        current_turn.set(requests.given["a1"])
        with waiting_elsewhere():
            assert requests.working == ["b1", "a1", "a2"]

    copy_context().run(wait)
    requests.end("a1")
    assert requests.working == ["b1", "a2"]


def test_a_request_that_waits_in_another_thread_lets_others_go_on(
    requests: Requests, loop: asyncio.AbstractEventLoop
) -> None:
    requests.ask("b1")
    requests.ask("a1", "a2")
    loop.run_until_complete(asyncio.to_thread(requests.given["a1"].pause))
    loop.run_until_complete(asyncio.sleep(0))

    assert requests.working == ["b1", "a1", "a2"]


def test_going_on_after_the_turn_takes_no_other(requests: Requests) -> None:
    requests.ask("b1")
    requests.ask("a1")
    requests.end("a1")
    requests.given["a1"].resume()
    requests.ask("a2")

    assert requests.working == ["b1", "a2"]


def test_no_request_begins_in_the_context_of_another(requests: Requests) -> None:
    # It would share what Django keeps for a request, such as its thread.
    variable: ContextVar[str] = ContextVar("variable")
    seen = []
    requests.ask("b1")
    requests.ask("a1")
    requests.turns.ask("a", is_heavy=False, start=lambda _: seen.append(variable.get("none")))

    def end() -> None:
        variable.set("of a1")
        requests.end("a1")

    copy_context().run(end)
    assert seen == ["none"]


def test_there_is_a_limit_for_those_that_wait_too(requests: Requests) -> None:
    requests.ask("b0")
    requests.end("b0")
    for number in range(10):
        requests.ask(f"a{number}")
        for name in requests.working:
            requests.given[name].pause()
    assert len(requests.working) == LIMITS.turns_per_address

    requests.ask("b1")
    assert requests.working[-1] == "b1"


def test_a_request_that_was_withdrawn_gets_no_turn(requests: Requests) -> None:
    requests.ask("a1", "a2", "a3")
    waiting = requests.turns.ask("a", is_heavy=False, start=lambda _: pytest.fail("withdrawn"))
    assert requests.turns.withdraw(waiting)
    assert not requests.turns.withdraw(waiting)

    requests.end("a1")


def test_a_turn_ends_with_the_last_of_those_who_hold_it(requests: Requests) -> None:
    requests.ask("a1", "a2", "a3", "a4")
    release = requests.given["a1"].hold()
    requests.end("a1")
    assert "a4" not in requests.working

    release()
    release()
    assert "a4" in requests.working


def test_there_is_a_limit_for_those_that_wait_for_a_turn(loop: asyncio.AbstractEventLoop) -> None:
    requests = Requests(loop, Limits(turns_per_address=1, waiting_per_address=2))
    requests.ask("a1", "a2", "a3")
    with pytest.raises(TooManyWaiting):
        requests.ask("a4")
    requests.ask("b1")


def test_an_address_that_takes_too_much_of_the_loop_is_read_later_if_others_are_there(
    requests: Requests,
) -> None:
    limits = Limits(loop_share=0.1, loop_seconds=0.5, loop_most_seconds=1.0)
    share = LoopShare(requests.turns, limits, lambda: requests.now)
    share.take("a", 0.4)
    share.take("a", 0.4)
    assert share.wait("a") == 0

    requests.ask("b1")
    assert share.wait("a") == pytest.approx(3.0)
    assert share.wait("b") == 0

    requests.now = 2.0
    assert share.wait("a") == pytest.approx(1.0)


def test_an_address_that_takes_still_more_is_spent_for_a_while(requests: Requests) -> None:
    limits = Limits(loop_share=0.1, loop_spent_seconds=0.5, loop_most_seconds=1.0)
    share = LoopShare(requests.turns, limits, lambda: requests.now)
    share.take("a", 0.6)
    assert not share.is_spent("a")

    requests.ask("b1")
    assert share.is_spent("a")
    assert not share.is_spent("b")

    requests.now = 1.1
    assert not share.is_spent("a")


def test_things_are_counted_by_address_and_together() -> None:
    counted = Counted(2, 3)
    assert [counted.enter(address) for address in "aaabb"] == [True, True, False, True, False]

    counted.leave("a")
    assert counted.enter("b")
