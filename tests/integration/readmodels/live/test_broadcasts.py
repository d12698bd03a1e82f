"""Broadcasts over a real Valkey that comes and goes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from channels import DEFAULT_CHANNEL_LAYER
from channels.layers import BaseChannelLayer, channel_layers

from readmodels.live.broadcasts import POSITIONS, REACHED, UNDERWRITING, Broadcaster
from tests.support.processes import PATIENCE
from tests.support.valkey import RunningValkey

EARLIER, LATER = datetime(2026, 11, 23, 9, tzinfo=UTC), datetime(2026, 11, 23, 10, tzinfo=UTC)


@contextmanager
def hearing(*groups: str) -> Iterator[Callable[[int], list[dict[str, Any]]]]:
    """Join groups; yields a function that returns the next so many messages to them."""
    with asyncio.Runner() as runner:
        layer = channel_layers[DEFAULT_CHANNEL_LAYER]

        async def join() -> str:
            channel = await layer.new_channel()
            for group in groups:
                await layer.group_add(group, channel)
            # It arrives once the groups have been joined.
            await layer.send(channel, {"type": "joined"})
            await layer.receive(channel)
            return channel

        async def hear(count: int) -> list[dict[str, Any]]:
            async with asyncio.timeout(PATIENCE):
                return [await layer.receive(channel) for _ in range(count)]

        channel = runner.run(join())
        yield lambda count: runner.run(hear(count))


def send(broadcaster: Broadcaster) -> None:
    broadcaster.send({UNDERWRITING: {uuid4()}}).result(PATIENCE)


def test_the_first_broadcast_after_a_restart_is_not_lost(
    valkey: RunningValkey, caplog: pytest.LogCaptureFixture
) -> None:
    with Broadcaster() as broadcaster:
        send(broadcaster)
        valkey.restart()
        send(broadcaster)
    assert "Lost the channel layer" not in caplog.text


def test_changes_and_positions_that_wait_for_one_send_go_out_together(
    valkey: RunningValkey,
) -> None:
    first, second = uuid4(), uuid4()
    broadcaster = Broadcaster()
    broadcaster.send({UNDERWRITING: {first}}, recorded_at=LATER)
    broadcaster.send({UNDERWRITING: {second}}, recorded_at=EARLIER)
    broadcaster.send({UNDERWRITING: {second}})
    for position in range(1, 1_001):
        broadcaster.send_reached("loan_status", position)
    broadcaster.send_reached("loan_requests", 7)
    with hearing(UNDERWRITING, POSITIONS) as heard, broadcaster:
        change, reached = heard(2)
    assert set(change["ids"]) == {str(first), str(second)}
    assert change["recorded_at"] == EARLIER.timestamp()
    positions = {"loan_status": 1_000, "loan_requests": 7}
    assert reached == {"type": REACHED, "positions": positions}


def test_a_change_without_a_known_time_says_none(valkey: RunningValkey) -> None:
    with Broadcaster() as broadcaster, hearing(UNDERWRITING) as heard:
        send(broadcaster)
        assert "recorded_at" not in heard(1)[0]


def test_a_broadcast_cannot_be_cancelled_by_one_of_several_who_sent_it(
    valkey: RunningValkey,
) -> None:
    broadcaster = Broadcaster()
    assert not broadcaster.send({UNDERWRITING: {uuid4()}}).cancel()
    with broadcaster:
        pass


def test_the_queue_of_messages_is_bounded(valkey: RunningValkey) -> None:
    broadcaster = Broadcaster(most_waiting_ids=3)
    for group in ("a", "b", "c"):
        sent = broadcaster.send({group: {uuid4(), uuid4()}})
    with hearing("a", "b", "c") as heard, broadcaster:
        sent.result(PATIENCE)
        broadcaster.send({"c": {uuid4()}}).result(PATIENCE)
        assert [len(each["ids"]) for each in heard(3)] == [2, 2, 1]


def test_a_valkey_that_is_away_holds_nobody_up(valkey: RunningValkey) -> None:
    with Broadcaster() as broadcaster:
        send(broadcaster)
        valkey.stop()
        began = time.monotonic()
        for position in range(20_000):
            broadcaster.send({UNDERWRITING: {uuid4()}})
            broadcaster.send_reached("loan_status", position)
        assert time.monotonic() - began < 5


def test_a_valkey_that_is_away_fails_nothing_and_is_logged_once(
    valkey: RunningValkey, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with Broadcaster() as broadcaster:
        valkey.stop()
        send(broadcaster)
        send(broadcaster)
        valkey.restart()
        send(broadcaster)
    said = [record.getMessage().split(" (")[0] for record in caplog.records]
    assert said == ["Lost the channel layer", "Regained the channel layer"]


class SwallowingLayer(BaseChannelLayer):
    """Swallows a cancellation, as redis-py's asyncio.wait_for may before Python 3.12."""

    async def group_send_all(self, messages: Iterable[tuple[str, dict[str, Any]]]) -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)


def test_a_layer_that_swallows_a_cancellation_does_not_keep_it_from_ending() -> None:
    usual = channel_layers.set(DEFAULT_CHANNEL_LAYER, SwallowingLayer())
    try:
        with Broadcaster() as broadcaster:
            sent = broadcaster.send({UNDERWRITING: {uuid4()}})
    finally:
        channel_layers.backends.pop(DEFAULT_CHANNEL_LAYER)
        if usual is not None:
            channel_layers.set(DEFAULT_CHANNEL_LAYER, usual)
    assert sent.done()
