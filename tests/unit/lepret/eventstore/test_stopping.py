"""A server that is told to stop while a slow client has not received its answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import pytest
from esdbclient.protos.Grpc import shared_pb2, streams_pb2
from google.protobuf import empty_pb2
from google.protobuf.message import Message

from lepret.eventstore.server import Server, StopLimits
from lepret.eventstore.storage.datafile import prepare_data_file
from lepret.eventstore.wire.http2 import frames
from lepret.eventstore.wire.http2.frames import FrameType, Setting
from lepret.eventstore.wire.http2.headers import HeaderDecoder, encode_headers
from lepret.eventstore.wire.listening import listen
from tests.support.processes import PATIENCE

STREAM = shared_pb2.StreamIdentifier(stream_name=b"s")

_ANY = shared_pb2.Empty()
_ID = shared_pb2.UUID(string=str(uuid4()))
_METADATA = {"type": "T", "content-type": "application/json"}

REQUESTS: dict[str, list[Message]] = {
    "Append": [
        streams_pb2.AppendReq(
            options=streams_pb2.AppendReq.Options(stream_identifier=STREAM, any=_ANY)
        ),
        streams_pb2.AppendReq(
            proposed_message=streams_pb2.AppendReq.ProposedMessage(id=_ID, metadata=_METADATA)
        ),
    ],
    "BatchAppend": [
        streams_pb2.BatchAppendReq(
            options=streams_pb2.BatchAppendReq.Options(
                stream_identifier=STREAM, any=empty_pb2.Empty()
            ),
            proposed_messages=[
                streams_pb2.BatchAppendReq.ProposedMessage(id=_ID, metadata=_METADATA)
            ],
            is_final=True,
        )
    ],
    "Tombstone": [
        streams_pb2.TombstoneReq(
            options=streams_pb2.TombstoneReq.Options(stream_identifier=STREAM, any=_ANY)
        )
    ],
}
"""The requests of each method that writes."""


class SlowClient:
    """A client that does not let the server send an answer's data until `take`."""

    CALL = 1
    LATER_CALL = 3

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._decoder = HeaderDecoder()

    def call(self, method: str, requests: list[Message]) -> None:
        data = b"".join(_with_prefix(request.SerializeToString()) for request in requests)
        self._writer.write(
            frames.PREFACE
            + frames.settings({Setting.INITIAL_WINDOW_SIZE: 0})
            + _headers(self.CALL, method)
            + frames.frame(FrameType.DATA, frames.END_STREAM, self.CALL, data)
        )

    async def refused_call(self) -> None:
        """Make a call and see it refused, which shows that the server is stopping."""
        self._writer.write(_headers(self.LATER_CALL, "Read"))
        payload = await self._next(FrameType.HEADERS, self.LATER_CALL)
        assert dict(self._decoder.decode(payload))[b"grpc-status"] == b"14"

    def take(self, octets: int) -> None:
        """Let the server send this many bytes of the answer."""
        self._writer.write(frames.window_update(self.CALL, octets))

    async def headers(self) -> dict[bytes, bytes]:
        return dict(self._decoder.decode(await self._next(FrameType.HEADERS)))

    async def data(self) -> bytes:
        return await self._next(FrameType.DATA)

    async def _next(self, wanted: FrameType, call: int = CALL) -> bytes:
        """The payload of the call's next frame, which must have that type."""
        while True:
            header = await self._reader.readexactly(frames.HEADER_SIZE)
            length, kind, _, stream = frames.parse_header(header, 0)
            payload = await self._reader.readexactly(length)
            if stream == call:
                assert kind == wanted, f"not {wanted.name} but {FrameType(kind).name}: {payload!r}"
                return payload


class Stopping(NamedTuple):
    """A server whose client has not received the answer to its write, and how to stop it."""

    client: SlowClient
    stop: asyncio.Event
    serving: asyncio.Task[None]


@asynccontextmanager
async def _answer_held_back(path: Path, method: str, limits: StopLimits) -> AsyncIterator[Stopping]:
    prepare_data_file(path)
    with listen("127.0.0.1", 0) as listener:
        stop = asyncio.Event()
        serving = asyncio.create_task(Server(path, listener, limits).serve(until=stop))
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            client = SlowClient(reader, writer)
            client.call(method, REQUESTS[method])
            assert (await client.headers())[b":status"] == b"200"
            yield Stopping(client, stop, serving)
            writer.close()
            await serving


@pytest.mark.parametrize("method", REQUESTS)
def test_a_stop_waits_for_the_answers_to_writes(tmp_path: Path, method: str) -> None:
    async def scenario() -> None:
        limits = StopLimits(answers=PATIENCE)
        held_back = _answer_held_back(tmp_path / "events.sqlite", method, limits)
        async with held_back as (client, stop, _):
            stop.set()
            await client.refused_call()
            client.take(1000)
            assert len(await client.data()) > 5
            assert (await client.headers())[b"grpc-status"] == b"0"

    asyncio.run(scenario())


def test_a_stop_does_not_wait_for_ever(tmp_path: Path) -> None:
    async def scenario() -> None:
        limits = StopLimits(answers=0.05)
        held_back = _answer_held_back(tmp_path / "events.sqlite", "Append", limits)
        async with held_back as (client, stop, serving):
            stop.set()
            await serving
            assert (await client.headers())[b"grpc-status"] == b"14"

    asyncio.run(scenario())


def _headers(call: int, method: str) -> bytes:
    headers = [
        (b":method", b"POST"),
        (b":path", f"/event_store.client.streams.Streams/{method}".encode()),
        (b"content-type", b"application/grpc"),
    ]
    return frames.frame(FrameType.HEADERS, frames.END_HEADERS, call, encode_headers(headers))


def _with_prefix(message: bytes) -> bytes:
    return b"\0" + len(message).to_bytes(4) + message
