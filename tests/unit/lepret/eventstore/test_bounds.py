"""Limits of the memory that one client can use, however much it sends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import cast

import pytest

from lepret.eventstore.rpc import Call, Refusal, StatusCode
from lepret.eventstore.services.write_calls import (
    MAX_RUNNING_BATCHES,
    MAX_UNFINISHED_BATCHES,
    WriteCalls,
)
from lepret.eventstore.storage.group_commit import GroupCommit
from lepret.eventstore.wire.grpc import GrpcServer
from lepret.eventstore.wire.http2.connection import STREAM_WINDOW, Http2Stream
from lepret.eventstore.writes import Appended, Outcome, Write
from tests.integration.lepret.eventstore.batches import new_batch
from tests.support.processes import PATIENCE

CHUNK = 16 * 1024


class FakeStream:
    """Counts how many more bytes the client may send."""

    def __init__(self) -> None:
        self.window = STREAM_WINDOW

    def consumed(self, octets: int) -> None:
        self.window += octets

    def send_headers(self, block: bytes, *, end: bool = False) -> None:
        """Ignore the answer."""


def test_messages_that_wait_for_their_handler_are_limited() -> None:
    """A client sends as much as flow control allows. The rest waits, and nothing is lost."""
    total = 20 * STREAM_WINDOW
    message = b"\0" + (CHUNK - 5).to_bytes(4) + bytes(CHUNK - 5)
    handled = 0
    busy = asyncio.Event()

    async def handler(call: Call) -> None:
        nonlocal handled
        async for request in call.requests():
            handled += len(request) + 5
            await busy.wait()

    async def scenario() -> None:
        stream = FakeStream()
        headers = [(b":path", b"/service/method"), (b"content-type", b"application/grpc")]
        server = GrpcServer({"/service/method": handler})
        owner = server.accept(cast(Http2Stream, stream), headers)
        sent = 0

        async def send() -> None:
            nonlocal sent
            while stream.window >= CHUNK and sent < total:
                stream.window -= CHUNK
                sent += CHUNK
                owner.data_received(message)
                await asyncio.sleep(0)

        await send()
        assert sent <= STREAM_WINDOW
        busy.set()
        async with asyncio.timeout(PATIENCE):
            while sent < total:
                await send()
                await asyncio.sleep(0)
            owner.end_received()
            await server.end_calls(Refusal(StatusCode.UNAVAILABLE, ""))

    asyncio.run(scenario())
    assert handled == total


class FakeCall:
    """A call of BatchAppend with ``count`` batches."""

    def __init__(self, count: int, *, final: bool) -> None:
        self.read = 0
        self.answers = 0
        self._count = count
        self._final = final

    @property
    def has_more(self) -> bool:
        return self.read < self._count

    def header(self, name: str) -> str:
        return ""

    async def requests(self) -> AsyncIterator[bytes]:
        for _ in range(self._count):
            self.read += 1
            yield new_batch("s", 1, final=self._final).SerializeToString()
            await asyncio.sleep(0)

    async def send(self, messages: Sequence[bytes]) -> None:
        self.answers += len(messages)


class FakeCommit:
    """Writes nothing until `go_on` is set."""

    def __init__(self) -> None:
        self.waiting = 0
        self.is_full = asyncio.Event()
        self.go_on = asyncio.Event()

    async def append(self, write: Write) -> Outcome:
        self.waiting += 1
        if self.waiting == MAX_RUNNING_BATCHES:
            self.is_full.set()
        await self.go_on.wait()
        return Appended(0, 0)


def test_batches_that_wait_to_be_written_are_limited() -> None:
    async def scenario() -> None:
        commit = FakeCommit()
        call = FakeCall(3 * MAX_RUNNING_BATCHES, final=True)
        appends = WriteCalls(cast(GroupCommit, commit))
        appending = asyncio.create_task(appends.batch_append(call))
        async with asyncio.timeout(PATIENCE):
            await commit.is_full.wait()
            for _ in range(100):
                await asyncio.sleep(0)
            assert (commit.waiting, call.read) == (MAX_RUNNING_BATCHES, MAX_RUNNING_BATCHES + 1)
            commit.go_on.set()
            await appending
        assert call.answers == 3 * MAX_RUNNING_BATCHES

    asyncio.run(scenario())


def test_batches_that_wait_for_their_last_chunk_are_limited() -> None:
    async def scenario() -> None:
        call = FakeCall(3 * MAX_UNFINISHED_BATCHES, final=False)
        appends = WriteCalls(cast(GroupCommit, FakeCommit()))
        with pytest.raises(Refusal) as refusal:
            await appends.batch_append(call)
        assert refusal.value.status is StatusCode.RESOURCE_EXHAUSTED
        assert call.read == MAX_UNFINISHED_BATCHES + 1

    asyncio.run(scenario())
