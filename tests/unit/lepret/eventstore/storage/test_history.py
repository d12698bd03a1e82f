"""Filters on `$all` that keep little: reads go past what they leave out, and miss nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest
from esdbclient.protos.Grpc import streams_pb2

from lepret.eventstore.persistent.settings import ALL, FilterContext, FilterSettings
from lepret.eventstore.persistent.source import Source
from lepret.eventstore.services.catch_up_subscriptions import Search, follow_all
from lepret.eventstore.storage import filters
from lepret.eventstore.storage.datafile import prepare_data_file
from lepret.eventstore.storage.filters import Filter
from lepret.eventstore.storage.history import History
from lepret.eventstore.storage.log import Log
from lepret.eventstore.storage.records import Record
from lepret.eventstore.storage.tail import Tail
from lepret.eventstore.writes import Append, Expectation, ProposedEvent
from tests.unit.lepret.eventstore.persistent.groups import new_settings

CHECKPOINTS = "$persistentsubscription-$all::credit-checks-checkpoint"
RUNS = (
    ("LoanRequested", "LoanRequest:1", 700),
    ("$stats", "$stats-127.0.0.1", 5_000),
    ("LoanRequested", "LoanRequest:2", 1),
    ("$checkpoint", CHECKPOINTS, 20_000),
    ("Foreign", "invoice-7", 3),
    ("$stats", "$stats-127.0.0.1", 30_000),
)
MOST_PAGES = 10
"""All are more than a hundred."""

FILTERS = {
    "no system events": filters.by_type(filters.by_regex(r"^(?!\$.+|\$$).*$")),
    "a type's prefix": filters.by_type(filters.by_prefix(["Loan"])),
    "a stream's prefix": filters.by_stream(filters.by_prefix(["LoanRequest:2", "invoice"])),
    "a stream's pattern": filters.by_stream(filters.by_regex("^LoanRequest:1$")),
    "nothing": filters.by_type(filters.by_prefix(["NoSuchType"])),
    "only what is hidden": filters.by_type(filters.by_prefix(["$checkpoint"])),
    "everything": filters.everything,
}


class CountingLog(Log):
    """Counts the pages of `$all` that are read."""

    pages = 0

    def _page(self, condition: str, parameters: tuple[str | int, ...]) -> list[Record]:
        self.pages += 1
        return super()._page(condition, parameters)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CountingLog]:
    path = tmp_path_factory.mktemp("history") / "events.sqlite"
    prepare_data_file(path)
    log = CountingLog(path)
    for event_type, stream, count in RUNS:
        event = ProposedEvent(uuid4(), event_type, True, b"{}", b"")
        log.append_all([Append(stream, Expectation.ANY, (event,) * count)])
    yield log
    log.close()


@pytest.fixture(params=FILTERS)
def keep(request: pytest.FixtureRequest) -> Filter:
    return filters.in_all(FILTERS[request.param])


@pytest.fixture(scope="module")
def everything(log: CountingLog) -> list[Record]:
    records: list[Record] = []
    while page := log.all_forwards(len(records) + 1, log.head):
        records += page
    return records


async def _all(pages: AsyncIterator[list[Record]]) -> list[Record]:
    return [record async for page in pages for record in page]


def test_reads_what_the_filter_keeps(
    log: CountingLog, everything: list[Record], keep: Filter
) -> None:
    kept = [record for record in everything if keep(record)]
    history, head = History(log), log.head
    for start in (0, 1, 701, 5_702, head // 2, head, head + 1, head + 2):
        forwards = asyncio.run(_all(history.all_forwards(start, head, keep)))
        assert forwards == [record for record in kept if record.position >= start]
        backwards = asyncio.run(_all(history.all_backwards(start, keep)))
        assert backwards == [record for record in kept[::-1] if record.position < start]
    history.close()


@pytest.mark.parametrize("window", [None, 1, 32, 150, 7_000])
def test_a_subscription_gets_it_with_checkpoints_after_each_window_and_at_the_end(
    log: CountingLog, everything: list[Record], keep: Filter, window: int | None
) -> None:
    expected: list[int] = []
    for searched, record in enumerate(everything, 1):
        if keep(record):
            expected.append(record.position)
        if window is not None and searched % window == 0:
            expected.append(-record.position)
    if window is not None and expected[-1:] != [-log.head]:
        expected.append(-log.head)  # With the news that it is live.
    assert asyncio.run(_subscribed(log, keep, window)) == expected


async def _subscribed(log: CountingLog, keep: Filter, window: int | None) -> list[int]:
    """The positions of events and, below 0, of checkpoints, until it has caught up."""
    history = History(log)
    positions: list[int] = []
    async for batch in follow_all(history, Tail(log.head), -1, Search(keep, window)):
        for response in map(streams_pb2.ReadResp.FromString, batch):
            if response.HasField("caught_up"):
                history.close()
                return positions
            position = response.event.commit_position or -response.checkpoint.commit_position
            positions.append(position)
    raise AssertionError


def test_a_group_gets_it(log: CountingLog) -> None:
    async def read() -> list[int]:
        numbers: list[int] = []
        async for page in source.pages(-1):
            numbers += [record.position for record in page.records]
            if page.to == log.head:
                break
        return numbers

    by_prefix = FilterSettings(context=FilterContext.STREAM_NAME, prefixes=("LoanRequest:2",))
    settings = new_settings(stream=ALL).model_copy(update={"filter": by_prefix})
    history = History(log)
    source = Source(history, Tail(log.head), settings)
    log.pages = 0
    assert asyncio.run(read()) == [5_702]
    assert log.pages <= MOST_PAGES
    history.close()


def test_few_pages_are_read_of_what_is_left_out(log: CountingLog) -> None:
    keep = filters.in_all(FILTERS["no system events"])
    history = History(log)
    log.pages = 0
    newest = asyncio.run(_first_of(history.all_backwards(log.head + 1, keep)))
    assert newest.stream == "invoice-7"
    assert log.pages <= MOST_PAGES
    history.close()


async def _first_of(pages: AsyncIterator[list[Record]]) -> Record:
    """The first record."""
    async for page in pages:
        if page:
            return page[0]
    raise AssertionError
