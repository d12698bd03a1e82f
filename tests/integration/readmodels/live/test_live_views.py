"""What pages share: one subscription, one read and one rendering of each change."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from channels import DEFAULT_CHANNEL_LAYER
from channels.layers import channel_layers
from pytest_django import Settings

from readmodels.live.broadcasts import CHANGED, Broadcaster, subscribed
from readmodels.live.live_views import (
    MOST_BEHIND,
    Frame,
    LiveViewLost,
    ViewTimes,
    Watch,
    watching,
)
from tests.support.event_loops import in_event_loop
from tests.support.processes import PATIENCE, free_port, wait_until

pytestmark = pytest.mark.usefixtures("channel_layer")

GROUP = "numbers"


class Numbers:
    """A read model of one number, with how often it was read and what was rendered."""

    def __init__(self) -> None:
        self.number = 0
        self.reads = 0
        self.renderings: list[str] = []
        self.fails = False
        self.may_read = threading.Event()
        self.may_read.set()
        self.is_reading = threading.Event()

    def read(self) -> Shown:
        self.is_reading.set()
        assert self.may_read.wait(PATIENCE)
        self.reads += 1
        if self.fails:
            raise OSError
        return Shown(self.number, self)

    def render(self, text: str) -> str:
        self.renderings.append(text)
        return text


@dataclass(frozen=True)
class Shown:
    number: int
    of: Numbers

    def changes_since(self, before: Shown | None) -> str:
        if before is None:
            return self.of.render(f"all of {self.number}")
        if before == self:
            return self.of.render("")
        return self.of.render(f"{before.number} to {self.number}")


async def broadcast(recorded_at: float | None = None) -> None:
    """Send what the projector sends after a change."""
    message: dict[str, Any] = {"type": CHANGED, "ids": []}
    if recorded_at is not None:
        message["recorded_at"] = recorded_at
    await channel_layers[DEFAULT_CHANNEL_LAYER].group_send(GROUP, message)


async def change(numbers: Numbers, number: int) -> None:
    """Change the number, and broadcast that it has changed."""
    numbers.number = number
    await broadcast()


async def next_frame(watch: Watch) -> Frame:
    return await asyncio.wait_for(watch.next_frame(), PATIENCE)


async def opened(stack: AsyncExitStack, numbers: Numbers) -> Watch:
    """A page that has its first frame."""
    watch = await stack.enter_async_context(watching(GROUP, numbers.read))
    await next_frame(watch)
    return watch


async def until(condition: Callable[[], bool]) -> None:
    await asyncio.to_thread(wait_until, condition, every=0.01)


class TestAChange:
    @in_event_loop
    async def test_is_read_and_rendered_once_for_all_pages(self) -> None:
        numbers = Numbers()
        async with AsyncExitStack() as stack:
            watches = [await opened(stack, numbers) for _ in range(5)]
            await until(lambda: numbers.reads == 5)
            numbers.number, numbers.reads = 1, 0
            numbers.renderings.clear()

            await broadcast()
            frames = [await next_frame(watch) for watch in watches]

        assert {frame.fragments for frame in frames} == {"0 to 1"}
        assert (numbers.reads, numbers.renderings) == (1, ["0 to 1"])

    @in_event_loop
    async def test_that_changes_nothing_is_not_sent(self) -> None:
        numbers = Numbers()
        async with AsyncExitStack() as stack:
            watch = await opened(stack, numbers)
            await broadcast()
            await until(lambda: numbers.reads == 2)
            await change(numbers, 1)
            assert (await next_frame(watch)).fragments == "0 to 1"

    @in_event_loop
    async def test_many_during_one_read_cause_one_more_read(self) -> None:
        numbers = Numbers()
        async with AsyncExitStack() as stack:
            watch = await opened(stack, numbers)
            numbers.may_read.clear()
            numbers.is_reading.clear()
            await change(numbers, 1)
            await until(numbers.is_reading.is_set)
            numbers.reads = 0
            for _ in range(20):
                await broadcast()
            await asyncio.to_thread(wait_for_arrival)
            numbers.may_read.set()
            assert (await next_frame(watch)).fragments == "0 to 1"
            await until(lambda: numbers.reads == 2)
            await change(numbers, 2)
            assert (await next_frame(watch)).fragments == "1 to 2"
        assert numbers.reads == 3


def wait_for_arrival() -> None:
    """Wait until all broadcasts sent so far have arrived, since a later one has."""

    async def receive_another() -> None:
        async with subscribed(GROUP) as receive:
            await broadcast()
            await asyncio.wait_for(receive(), PATIENCE)

    asyncio.run(receive_another())


class TestAPage:
    @in_event_loop
    async def test_that_comes_later_gets_the_whole_and_the_others_nothing(self) -> None:
        numbers = Numbers()
        async with AsyncExitStack() as stack:
            first = await opened(stack, numbers)
            await change(numbers, 1)
            await next_frame(first)
            later = await stack.enter_async_context(watching(GROUP, numbers.read))
            assert (await next_frame(later)).fragments == "all of 1"
            await change(numbers, 2)
            assert (await next_frame(first)).fragments == "1 to 2"

    @in_event_loop
    async def test_that_comes_after_a_lost_broadcast_gets_the_current_state(self) -> None:
        numbers = Numbers()
        async with AsyncExitStack() as stack:
            first = await opened(stack, numbers)
            numbers.number = 1  # without a broadcast
            later = await stack.enter_async_context(watching(GROUP, numbers.read))
            assert (await next_frame(later)).fragments == "all of 1"
            assert (await next_frame(first)).fragments == "0 to 1"

    @pytest.mark.parametrize(
        ("behind", "sent"),
        [
            (2, "0 to 2"),
            (MOST_BEHIND, f"0 to {MOST_BEHIND}"),
            (MOST_BEHIND + 1, f"all of {MOST_BEHIND + 1}"),
        ],
    )
    @in_event_loop
    async def test_that_fell_behind_gets_what_it_lacks_rendered_once(
        self, behind: int, sent: str
    ) -> None:
        numbers = Numbers()
        async with AsyncExitStack() as stack:
            quick, *slow = [await opened(stack, numbers) for _ in range(3)]
            for number in range(1, behind + 1):
                await change(numbers, number)
                assert (await next_frame(quick)).fragments == f"{number - 1} to {number}"
            frames = [(await next_frame(watch)).fragments for watch in slow]
        assert frames == [sent] * 2
        assert numbers.renderings.count(sent) == 1

    @in_event_loop
    async def test_that_fell_behind_until_all_was_as_before_is_sent_nothing(self) -> None:
        numbers = Numbers()
        async with AsyncExitStack() as stack:
            quick, slow = [await opened(stack, numbers) for _ in range(2)]
            for number in (1, 0):
                await change(numbers, number)
                await next_frame(quick)
            sent = asyncio.create_task(next_frame(slow))
            await until(lambda: "" in numbers.renderings)
            await change(numbers, 2)
            assert (await sent).fragments == "0 to 2"

    @in_event_loop
    async def test_that_starts_over_gets_the_whole_as_it_is_now_and_the_others_the_change(
        self,
    ) -> None:
        numbers = Numbers()
        async with AsyncExitStack() as stack:
            first, other = [await opened(stack, numbers) for _ in range(2)]
            numbers.number = 1  # without a broadcast
            first.start_over()
            assert (await next_frame(first)).fragments == "all of 1"
            assert (await next_frame(other)).fragments == "0 to 1"

    @in_event_loop
    async def test_that_starts_over_gets_the_whole_where_nothing_has_changed(self) -> None:
        numbers = Numbers()
        async with AsyncExitStack() as stack:
            watch = await opened(stack, numbers)
            watch.start_over()
            assert (await next_frame(watch)).fragments == "all of 0"

    @in_event_loop
    async def test_is_told_when_the_oldest_event_was_recorded(self) -> None:
        numbers = Numbers()
        async with AsyncExitStack() as stack:
            quick, slow = [await opened(stack, numbers) for _ in range(2)]
            for number, recorded_at in ((1, 30.0), (2, 20.0), (3, 40.0)):
                numbers.number = number
                await broadcast(recorded_at)
                assert (await next_frame(quick)).recorded_at == recorded_at
            assert (await next_frame(slow)).recorded_at == 20.0

    @in_event_loop
    async def test_is_told_no_such_time_when_it_opens(self) -> None:
        async with watching(GROUP, Numbers().read) as watch:
            assert (await next_frame(watch)).recorded_at is None

    @in_event_loop
    async def test_hears_from_the_broadcaster_when_the_event_was_recorded(self) -> None:
        numbers, recorded_at = Numbers(), datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
        async with AsyncExitStack() as stack:
            watch = await opened(stack, numbers)
            numbers.number = 1
            with Broadcaster() as broadcaster:
                sent = broadcaster.send({GROUP: {uuid4()}}, recorded_at=recorded_at)
                await asyncio.wrap_future(sent)
            assert (await next_frame(watch)).recorded_at == recorded_at.timestamp()


class TestALiveView:
    @in_event_loop
    async def test_that_cannot_read_is_lost_to_all_and_the_next_page_begins_another(self) -> None:
        numbers = Numbers()
        async with AsyncExitStack() as stack:
            watches = [await opened(stack, numbers) for _ in range(2)]
            numbers.fails = True
            await broadcast()
            for watch in watches:
                with pytest.raises(LiveViewLost):
                    await next_frame(watch)
            numbers.fails = False
            # The pages of the lost view are still attached to it.
            again = await opened(stack, numbers)
            await change(numbers, 1)
            assert (await next_frame(again)).fragments == "0 to 1"

    @in_event_loop
    async def test_ends_with_the_last_page_and_leaves_nothing(self) -> None:
        layer: Any = channel_layers[DEFAULT_CHANNEL_LAYER]
        tasks = asyncio.all_tasks()
        async with AsyncExitStack() as stack:
            for _ in range(3):
                await opened(stack, Numbers())
            assert len(layer.groups) == len(layer.channels) == 1
            # The channel layer has a task of its own, which goes on.
            tasks |= {each for each in asyncio.all_tasks() if "_do_receiving" in repr(each)}
        assert (layer.groups, layer.channels) == ({}, {})
        assert asyncio.all_tasks() == tasks

    @in_event_loop
    async def test_is_lost_where_the_channel_layer_is_away(self, settings: Settings) -> None:
        away = f"redis://127.0.0.1:{free_port()}"
        layer = settings.CHANNEL_LAYERS[DEFAULT_CHANNEL_LAYER]
        settings.CHANNEL_LAYERS = {DEFAULT_CHANNEL_LAYER: {**layer, "CONFIG": {"hosts": [away]}}}
        async with watching(GROUP, Numbers().read) as watch:
            with pytest.raises(LiveViewLost):
                await next_frame(watch)

    @in_event_loop
    async def test_reads_now_and_then_without_a_broadcast(self) -> None:
        numbers, often = Numbers(), ViewTimes(read_interval=0.1)
        async with watching(GROUP, numbers.read, times=often) as watch:
            await next_frame(watch)
            numbers.number = 1
            assert (await next_frame(watch)).fragments == "0 to 1"
