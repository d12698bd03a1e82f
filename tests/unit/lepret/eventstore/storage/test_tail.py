from __future__ import annotations

import asyncio

from lepret.eventstore.storage.records import Record
from lepret.eventstore.storage.tail import Tail
from tests.support.processes import PATIENCE


def _records(first: int, count: int, size: int = 1) -> list[Record]:
    return [Record(n, "s", n, "T", b"x" * size) for n in range(first, first + count)]


def _positions(records: list[Record] | None) -> list[int] | None:
    return None if records is None else [record.position for record in records]


def test_begins_empty_at_the_head() -> None:
    tail = Tail(head=7)
    assert tail.after(7, 10) == []
    assert tail.after(6, 10) is None


def test_returns_the_events_after_a_position() -> None:
    tail = Tail(head=7)
    tail.publish(_records(8, 5))
    assert _positions(tail.after(7, 3)) == [8, 9, 10]
    assert _positions(tail.after(10, 3)) == [11, 12]
    assert _positions(tail.after(12, 3)) == []


def test_forgets_the_oldest() -> None:
    tail = Tail(head=0, max_events=10)
    tail.publish(_records(1, 15))
    assert tail.after(4, 1) is None
    assert _positions(tail.after(5, 1)) == [6]


def test_is_bounded_in_bytes() -> None:
    tail = Tail(head=0, max_bytes=1000)
    tail.publish(_records(1, 20, 100))
    assert tail.after(9, 1) is None
    assert _positions(tail.after(10, 1)) == [11]


def test_wakes_all_who_wait_for_a_new_event() -> None:
    async def scenario() -> None:
        tail = Tail(head=0)
        waiting = [asyncio.create_task(tail.beyond(n)) for n in (0, 0, 1)]
        await asyncio.sleep(0)
        tail.publish(_records(1, 1))
        await asyncio.wait_for(asyncio.gather(*waiting[:2]), PATIENCE)
        assert not waiting[2].done()
        tail.publish(_records(2, 1))
        await asyncio.wait_for(waiting[2], PATIENCE)

    asyncio.run(scenario())


def test_does_not_wait_for_an_event_that_is_there() -> None:
    async def scenario() -> None:
        tail = Tail(head=3)
        await asyncio.wait_for(tail.beyond(2), PATIENCE)

    asyncio.run(scenario())
