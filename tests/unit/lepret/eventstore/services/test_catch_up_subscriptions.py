"""Catch-up subscriptions, with events appended while history is read and between messages."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from esdbclient.protos.Grpc import streams_pb2

from lepret.eventstore.storage.filters import Filter
from lepret.eventstore.storage.log import PAGE_EVENTS
from tests.support.processes import PATIENCE
from tests.unit.lepret.eventstore.hooked_store import STREAM, Following, HookedStore, at_most

Follow = Callable[[HookedStore], Following]


@pytest.fixture(params=["all", "stream"])
def follow(request: pytest.FixtureRequest) -> Follow:
    """Runs each test with a subscription to `$all` and to a stream."""
    return HookedStore.follow_all if request.param == "all" else HookedStore.follow_stream


def _kind(message: bytes) -> str | None:
    return streams_pb2.ReadResp.FromString(message).WhichOneof("content")


def _events(received: list[bytes]) -> list[bytes]:
    return [message for message in received if _kind(message) == "event"]


def _marks(received: list[bytes]) -> list[str | None]:
    return [_kind(m) for m in received if _kind(m) in {"caught_up", "fell_behind"}]


def _is_caught_up(received: list[bytes]) -> bool:
    return "caught_up" in _marks(received)


def _wanted(store: HookedStore, follow: Follow) -> list[bytes]:
    return store.responses(None if follow is HookedStore.follow_all else STREAM)


async def _receive(
    following: Following, until: Callable[[list[bytes]], bool], meanwhile: Callable[[], None]
) -> list[bytes]:
    """Receive messages until there are enough, with an action after each batch."""
    received: list[bytes] = []
    async with asyncio.timeout(PATIENCE):
        while not until(received):
            received += await anext(following)
            meanwhile()
    return received


@pytest.mark.parametrize("history", [0, 1, PAGE_EVENTS, 2 * PAGE_EVENTS + 7])
def test_nothing_is_lost_or_doubled_at_the_worst_moments(
    store: HookedStore, follow: Follow, history: int
) -> None:
    if history:
        store.append(history)
    store.forget_tail()
    store.history.hook = at_most(7, store.append)
    between = at_most(5, store.append)

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


def test_caught_up_comes_once_history_is_done(store: HookedStore, follow: Follow) -> None:
    store.append(PAGE_EVENTS + 3)
    store.forget_tail()

    async def scenario() -> None:
        received = await _receive(follow(store), until=_is_caught_up, meanwhile=lambda: None)
        *events, caught_up = received
        assert events == _wanted(store, follow)
        assert _kind(caught_up) == "caught_up"

    asyncio.run(scenario())


def test_a_slow_reader_falls_behind_and_catches_up(store: HookedStore, follow: Follow) -> None:
    store.append()
    store.forget_tail(max_events=10)

    async def scenario() -> None:
        following = follow(store)
        received = await _receive(following, until=_is_caught_up, meanwhile=lambda: None)
        store.append(20)
        received += await _receive(following, until=_is_caught_up, meanwhile=lambda: None)
        store.append()
        received += await anext(following)
        assert _events(received) == _wanted(store, follow)
        assert _marks(received) == ["caught_up", "fell_behind", "caught_up"]

    asyncio.run(scenario())


@pytest.mark.parametrize("window", [1, 5, 2000])
def test_checkpoints_name_the_last_event_searched(store: HookedStore, window: int) -> None:
    store.append(1200, "other")
    store.append(1, "wanted")
    store.append(9, "other")
    keep = Filter("stream", lambda stream: stream == "wanted")

    async def scenario() -> None:
        received = await _receive(
            store.follow_all(keep, window),
            until=_is_caught_up,
            meanwhile=lambda: None,
        )
        *_, caught_up = sent = [streams_pb2.ReadResp.FromString(m) for m in received]
        checkpoints = [m.checkpoint.commit_position for m in sent if m.HasField("checkpoint")]
        # The last one comes with the news that the subscription is live.
        due = range(window, store.log.head + 1, window)
        assert checkpoints == sorted({*due, store.log.head})
        assert len(received) == len(checkpoints) + 2
        assert caught_up.HasField("caught_up")

    asyncio.run(scenario())
