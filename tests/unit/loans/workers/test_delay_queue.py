"""Items come when they are due, and only once. Closing wakes all waiting threads."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from loans.workers.delay_queue import DelayQueue
from tests.support.processes import PATIENCE


class TestAnItem:
    def test_comes_at_once_without_a_delay(self) -> None:
        queue: DelayQueue[str] = DelayQueue()
        queue.put("now")

        assert queue.get() == "now"

    def test_does_not_come_before_its_time(self) -> None:
        queue: DelayQueue[str] = DelayQueue()
        began = time.monotonic()
        queue.put("later", after=0.05)

        assert queue.get() == "later"
        assert time.monotonic() - began >= 0.05

    def test_comes_before_those_that_are_due_later(self) -> None:
        queue: DelayQueue[str] = DelayQueue()
        queue.put("third", after=0.02)
        queue.put("second", after=0.01)
        queue.put("first")

        assert [queue.get() for _ in range(3)] == ["first", "second", "third"]

    def test_that_is_put_later_but_due_sooner_comes_first(self) -> None:
        queue: DelayQueue[str] = DelayQueue()
        queue.put("much later", after=10 * PATIENCE)
        with ThreadPoolExecutor() as executor:
            waiting = executor.submit(queue.get)
            queue.put("soon", after=0.01)

            assert waiting.result(PATIENCE) == "soon"

    def test_is_taken_once_however_many_wait(self) -> None:
        queue: DelayQueue[int] = DelayQueue()
        taken: list[int] = []
        all_taken = threading.Event()

        def take() -> None:
            while (number := queue.get()) is not None:
                taken.append(number)
                if len(taken) == 200:
                    all_taken.set()

        with ThreadPoolExecutor(8) as executor:
            for _ in range(8):
                executor.submit(take)
            for number in range(200):
                queue.put(number, after=number % 7 / 1000)
            all_are_taken = all_taken.wait(PATIENCE)
            queue.close()

        assert all_are_taken
        assert sorted(taken) == list(range(200))

    def test_goes_to_another_thread_while_the_first_is_busy(self) -> None:
        """Two threads wait for the same item. The one that does not get it waits for the next."""
        queue: DelayQueue[str] = DelayQueue()
        second = threading.Event()

        def work() -> bool:
            if queue.get() == "second":
                second.set()
            # The first item keeps its thread busy until the second was taken.
            return second.wait(PATIENCE)

        with ThreadPoolExecutor(2) as executor:
            working = [executor.submit(work) for _ in range(2)]
            queue.put("first", after=0.01)
            queue.put("second", after=0.02)

            assert all(each.result(PATIENCE) for each in working)


class TestTheQueue:
    def test_gives_nothing_more_once_it_is_closed(self) -> None:
        queue: DelayQueue[str] = DelayQueue()
        queue.put("too late")
        queue.close()

        assert queue.get() is None

    def test_wakes_waiting_threads_when_it_is_closed(self) -> None:
        queue: DelayQueue[str] = DelayQueue()
        with ThreadPoolExecutor() as executor:
            waiting = executor.submit(queue.get)
            queue.close()

            assert waiting.result(PATIENCE) is None

    def test_forgets_its_items_when_it_is_cleared(self) -> None:
        queue: DelayQueue[str] = DelayQueue()
        queue.put("forgotten")
        queue.clear()
        queue.put("new")

        assert queue.get() == "new"
