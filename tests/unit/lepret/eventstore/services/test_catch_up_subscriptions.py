"""Events that come at the worst moments: while history is read, and between two messages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from esdbclient.protos.Grpc import streams_pb2

from lepret.eventstore.services.catch_up_subscriptions import Search, follow_all, follow_stream
from lepret.eventstore.storage.datafile import prepare_data_file
from lepret.eventstore.storage.filters import Filter, everything
from lepret.eventstore.storage.history import History
from lepret.eventstore.storage.log import PAGE_EVENTS, Log
from lepret.eventstore.storage.records import Record
from lepret.eventstore.storage.tail import TAIL_EVENTS, Tail
from lepret.eventstore.writes import Append, Expectation, ProposedEvent

STREAM = "s"


class Store:
    """A log and its tail; history runs a hook before and after each page it reads."""

    def __init__(self, path: Path) -> None:
        prepare_data_file(path)
        self.log = Log(path)
        self.tail = Tail(self.log.head)
        self.history = HookedHistory(self.log)

    def append(self, count: int = 1, stream: str = STREAM) -> None:
        events = tuple(ProposedEvent(uuid4(), "T", True, b"{}", b"") for _ in range(count))
        _, records = self.log.append_all([Append(stream, Expectation.ANY, events)])
        self.tail.publish(records)

    def forget_tail(self) -> None:
        """As after a restart: all there is, is in the log."""
        self.tail = Tail(self.log.head)

    def follow_all(self, keep: Filter = everything, window: int | None = None) -> Following:
        return follow_all(self.history, self.tail, -1, Search(keep, window))

    def follow_stream(self) -> Following:
        return follow_stream(self.history, self.tail, STREAM, 0)

    def responses(self, stream: str | None = None) -> list[bytes]:
        return [r.response for r in _all(self.log) if stream in {None, r.stream}]


class HookedHistory(History):
    """History, with something happening around each page."""

    hook: Callable[[], None] = staticmethod(lambda: None)

    async def all_page(self, start: int, head: int) -> list[Record]:
        self.hook()
        page = await super().all_page(start, head)
        self.hook()
        return page

    async def stream_page(self, stream: str, start: int, head: int) -> list[Record]:
        self.hook()
        page = await super().stream_page(stream, start, head)
        self.hook()
        return page


Following = AsyncIterator[list[bytes]]
Follow = Callable[[Store], Following]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "events.sqlite")
    yield store
    store.history.close()
    store.log.close()


@pytest.fixture(params=["all", "stream"])
def follow(request: pytest.FixtureRequest) -> Follow:
    """Each test for subscriptions to `$all` and to a stream."""
    return Store.follow_all if request.param == "all" else Store.follow_stream


def _kind(message: bytes) -> str | None:
    return streams_pb2.ReadResp.FromString(message).WhichOneof("content")


def _events(received: list[bytes]) -> list[bytes]:
    return [message for message in received if _kind(message) == "event"]


def _marks(received: list[bytes]) -> list[str | None]:
    return [_kind(m) for m in received if _kind(m) in {"caught_up", "fell_behind"}]


def _is_caught_up(received: list[bytes]) -> bool:
    return "caught_up" in _marks(received)


def _wanted(store: Store, follow: Follow) -> list[bytes]:
    return store.responses(None if follow is Store.follow_all else STREAM)


async def _receive(
    following: Following, until: Callable[[list[bytes]], bool], meanwhile: Callable[[], None]
) -> list[bytes]:
    """Messages until there are enough; something happens after each batch of them."""
    received: list[bytes] = []
    async with asyncio.timeout(20):
        while not until(received):
            received += await anext(following)
            meanwhile()
    return received


def _limited(action: Callable[[], None], times: int) -> Callable[[], None]:
    left = iter(range(times))

    def act() -> None:
        if next(left, None) is not None:
            action()

    return act


@pytest.mark.parametrize("history", [0, 1, PAGE_EVENTS, 2 * PAGE_EVENTS + 7])
def test_nothing_is_lost_or_doubled_at_the_worst_moments(
    store: Store, follow: Follow, history: int
) -> None:
    if history:
        store.append(history)
    store.forget_tail()
    store.history.hook = _limited(store.append, 7)
    between = _limited(store.append, 5)

    def wanted() -> int:
        return len(_wanted(store, follow))

    async def scenario() -> None:
        received = await _receive(
            follow(store),
            until=lambda r: _is_caught_up(r) and len(_events(r)) == wanted(),
            meanwhile=between,
        )
        assert _events(received) == _wanted(store, follow)

    asyncio.run(scenario())


def test_caught_up_comes_once_history_is_done(store: Store, follow: Follow) -> None:
    store.append(PAGE_EVENTS + 3)
    store.forget_tail()

    async def scenario() -> None:
        received = await _receive(follow(store), until=_is_caught_up, meanwhile=lambda: None)
        *events, caught_up = received
        assert events == _wanted(store, follow)
        assert _kind(caught_up) == "caught_up"

    asyncio.run(scenario())


def test_a_slow_reader_falls_behind_and_catches_up(store: Store, follow: Follow) -> None:
    store.append()

    async def scenario() -> None:
        following = follow(store)
        received = await _receive(following, until=_is_caught_up, meanwhile=lambda: None)
        store.append(TAIL_EVENTS + 10)
        received += await _receive(following, until=_is_caught_up, meanwhile=lambda: None)
        store.append()
        received += await anext(following)
        assert _events(received) == _wanted(store, follow)
        assert _marks(received) == ["caught_up", "fell_behind", "caught_up"]

    asyncio.run(scenario())


@pytest.mark.parametrize("window", [1, 5, 2000])
def test_checkpoints_name_the_last_event_searched(store: Store, window: int) -> None:
    store.append(1200, "other")
    store.append(1, "wanted")
    store.append(9, "other")
    keep: Filter = lambda record: record.stream == "wanted"  # noqa: E731

    async def scenario() -> None:
        received = await _receive(
            store.follow_all(keep, window),
            until=_is_caught_up,
            meanwhile=lambda: None,
        )
        *_, caught_up = sent = [streams_pb2.ReadResp.FromString(m) for m in received]
        checkpoints = [m.checkpoint.commit_position for m in sent if m.HasField("checkpoint")]
        assert checkpoints == list(range(window, store.log.head + 1, window))
        assert len(received) == len(checkpoints) + 2
        assert caught_up.HasField("caught_up")

    asyncio.run(scenario())


def _all(log: Log) -> list[Record]:
    records: list[Record] = []
    while page := log.all_forwards(len(records) + 1, log.head):
        records += page
    return records
