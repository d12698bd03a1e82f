"""What a group reads, with events appended at the worst moments."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from lepret.eventstore.persistent.settings import ALL, FilterContext, FilterSettings
from lepret.eventstore.persistent.source import Source
from lepret.eventstore.storage.log import PAGE_EVENTS
from tests.support.processes import PATIENCE
from tests.unit.lepret.eventstore.hooked_store import STREAM, HookedStore, at_most
from tests.unit.lepret.eventstore.persistent.groups import new_settings


def _source(store: HookedStore, stream: str, **changes: int | str) -> Source:
    return Source(store.history, store.tail, new_settings(stream=stream, **changes))


def _read(
    source: Source, after: int, until: Callable[[list[int]], bool], between: Callable[[], None]
) -> list[int]:
    """Read until there are enough numbers, with an action after each page."""

    async def read() -> list[int]:
        numbers: list[int] = []
        async with asyncio.timeout(PATIENCE):
            async for page in source.pages(after):
                numbers += [source.number(record) for record in page.records]
                if until(numbers):
                    break
                between()
        return numbers

    return asyncio.run(read())


def _from_the_first(stream: str, count: int) -> list[int]:
    first = 1 if stream == ALL else 0
    return list(range(first, first + count))


@pytest.mark.parametrize("stream", [ALL, STREAM])
@pytest.mark.parametrize("history", [1, PAGE_EVENTS, 2 * PAGE_EVENTS + 7])
def test_nothing_is_lost_or_doubled(store: HookedStore, stream: str, history: int) -> None:
    store.append(history)
    store.forget_tail()
    store.history.hook = at_most(7, store.append)
    wanted = history + 7 + 1
    numbers = _read(
        _source(store, stream),
        -1,
        until=lambda numbers: len(numbers) >= wanted,
        between=at_most(9, store.append),
    )
    assert numbers == _from_the_first(stream, len(numbers))


@pytest.mark.parametrize("stream", [ALL, STREAM])
def test_nothing_is_lost_when_the_tail_has_lost_an_event(store: HookedStore, stream: str) -> None:
    store.append(3)
    store.forget_tail(max_events=10)
    wanted = 3 + 2 * 20
    numbers = _read(
        _source(store, stream),
        -1,
        until=lambda numbers: len(numbers) >= wanted,
        between=at_most(2, lambda: store.append(20)),
    )
    assert numbers == _from_the_first(stream, len(numbers))


def test_nothing_is_lost_between_history_and_live(store: HookedStore) -> None:
    store.append(1)
    calls = iter(range(100))
    # Called before and after each page: the fourth call comes after the second page, an empty one.
    store.history.hook = lambda: store.append() if next(calls) == 3 else None
    numbers = _read(
        _source(store, STREAM),
        -1,
        until=lambda numbers: len(numbers) == 2,
        between=lambda: None,
    )
    assert numbers == [0, 1]


def test_begins_after_a_number_that_is_not_reached_yet(store: HookedStore) -> None:
    store.append(1)
    calls = iter(range(100))
    store.history.hook = lambda: store.append(5) if next(calls) == 1 else None
    numbers = _read(_source(store, STREAM), 3, until=bool, between=lambda: None)
    assert numbers == [4, 5]


@pytest.mark.parametrize("stream", [ALL, STREAM])
def test_begins_after_the_number(store: HookedStore, stream: str) -> None:
    store.append(10)
    numbers = _read(_source(store, stream), 6, until=bool, between=lambda: None)
    assert numbers[0] == 7


def test_a_page_covers_events_that_were_filtered_out(store: HookedStore) -> None:
    wanted = FilterSettings(context=FilterContext.STREAM_NAME, regex="^wanted$")
    settings = new_settings(stream=ALL).model_copy(update={"filter": wanted})
    source = Source(store.history, store.tail, settings)
    store.append(5, "other")

    async def first_page() -> tuple[int, int]:
        page = await anext(source.pages(-1))
        return len(page.records), page.to

    assert asyncio.run(first_page()) == (0, store.log.head)


def test_events_that_groups_on_all_write_are_left_out(store: HookedStore) -> None:
    store.append(1)
    store.append(3, "$persistentsubscription-$all::g-checkpoint")
    store.append(2, "$persistentsubscription-$all::g-parked")
    store.append(1, "$persistentsubscription-orders::g-checkpoint")
    numbers = _read(
        _source(store, ALL), 1, until=lambda numbers: len(numbers) == 2, between=lambda: None
    )
    assert numbers == [2, 8]
