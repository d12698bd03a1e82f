"""Passes calls of EventStoreDB's clients on to an event store, for what stands in front of one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

import grpc.aio
from esdbclient.protos.Grpc import persistent_pb2, streams_pb2

from lepret.eventstore.rpc import Call, Refusal, StatusCode

GOSSIP: Final = "/event_store.client.gossip.Gossip/Read"
PATHS: Final = tuple(
    f"/{service.full_name}/{method.name}"
    for service in (
        streams_pb2.DESCRIPTOR.services_by_name["Streams"],
        persistent_pb2.DESCRIPTOR.services_by_name["PersistentSubscriptions"],
    )
    for method in service.methods
)
"""What the application calls, but for gossip."""


async def pass_on(
    call: Call,
    requests: AsyncIterator[bytes],
    store: grpc.aio.Channel,
    path: str,
    *,
    is_answered: bool = True,
) -> None:
    """Have `store` answer these requests of a call, or only do what they ask for.

    Raises:
        Refusal: the store refused.
    """
    answers = store.stream_stream(path, None, None)(requests)
    try:
        async for answer in answers:
            if is_answered:
                await call.send([answer])
    except grpc.aio.AioRpcError as error:
        raise Refusal(_status(error), error.details() or "") from None
    finally:
        answers.cancel()


def _status(error: grpc.aio.AioRpcError) -> StatusCode:
    number, _ = error.code().value
    return StatusCode(number)
