"""Messages to many groups, in one round trip."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest
from redis import Redis
from redis.exceptions import RedisError

from lepret.common.channel_layer import ChannelLayer
from tests.support.event_loops import in_event_loop
from tests.support.processes import PATIENCE, free_port
from tests.support.valkey import RunningValkey

GROUPS: Final = [f"group-{number}" for number in range(20)]


def message(text: str) -> dict[str, Any]:
    return {"type": "word", "text": text}


@asynccontextmanager
async def new_layer(*urls: str) -> AsyncIterator[ChannelLayer]:
    layer = ChannelLayer(hosts=list(urls))
    try:
        yield layer
    finally:
        await layer.flush()


async def received_by(layer: ChannelLayer, channel: str) -> dict[str, Any]:
    async with asyncio.timeout(PATIENCE):
        received: dict[str, Any] = await layer.receive(channel)
    return received


@pytest.mark.parametrize("servers", [1, 2])
@in_event_loop
async def test_each_group_gets_what_is_for_it_in_order(
    shared_valkey: RunningValkey, servers: int
) -> None:
    urls = [f"{shared_valkey.url.rpartition('/')[0]}/{number}" for number in range(servers)]
    async with new_layer(*urls) as layer, new_layer(*urls) as sender:
        channels = {group: await layer.new_channel() for group in GROUPS}
        for group, channel in channels.items():
            await layer.group_add(group, channel)
        await sender.group_send_all(
            (group, message(f"{group} {number}")) for number in range(2) for group in GROUPS
        )
        for group, channel in channels.items():
            words = [(await received_by(layer, channel))["text"] for _ in range(2)]
            assert words == [f"{group} 0", f"{group} 1"]


@in_event_loop
async def test_they_go_out_in_one_round_trip(valkey: RunningValkey) -> None:
    async with new_layer(valkey.url) as layer:
        await layer.group_send_all([("first", message("connects"))])
        with Redis.from_url(valkey.url) as redis:
            before = redis.info("stats")["total_reads_processed"]
            await layer.group_send_all((group, message("a word")) for group in GROUPS)
            reads = redis.info("stats")["total_reads_processed"] - before
            assert redis.info("commandstats")["cmdstat_publish"]["calls"] == 1 + len(GROUPS)
    # The other one is the question how many there were.
    assert reads <= 2


@in_event_loop
async def test_nothing_is_sent_for_nothing(shared_valkey: RunningValkey) -> None:
    nowhere = f"redis://127.0.0.1:{free_port()}"
    async with new_layer(nowhere) as layer:
        await layer.group_send_all([])


@in_event_loop
async def test_it_fails_where_valkey_is_away() -> None:
    async with new_layer(f"redis://127.0.0.1:{free_port()}") as layer:
        with pytest.raises(RedisError):
            await layer.group_send_all([("group", message("a word"))])
