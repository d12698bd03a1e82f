"""Requests of BatchAppend, as clients build them."""

from __future__ import annotations

from uuid import uuid4

from esdbclient.protos.Grpc import shared_pb2, streams_pb2
from google.protobuf import empty_pb2

Batch = streams_pb2.BatchAppendReq


def new_batch(stream: str, events: int, *, final: bool = True) -> Batch:
    return Batch(
        correlation_id=shared_pb2.UUID(string=str(uuid4())),
        options=Batch.Options(
            stream_identifier=shared_pb2.StreamIdentifier(stream_name=stream.encode()),
            any=empty_pb2.Empty(),
        ),
        proposed_messages=new_proposals(events),
        is_final=final,
    )


def new_proposals(count: int, size: int = 2) -> list[Batch.ProposedMessage]:
    return [
        Batch.ProposedMessage(
            id=shared_pb2.UUID(string=str(uuid4())),
            metadata={"type": "Tested", "content-type": "application/json"},
            data=b"x" * size,
        )
        for _ in range(count)
    ]
