"""The Streams service, method by method."""

from lepret.eventstore.rpc import Methods
from lepret.eventstore.services.append_calls import AppendCalls
from lepret.eventstore.services.reads import Reads

SERVICE = "/event_store.client.streams.Streams"


def streams_service(reads: Reads, appends: AppendCalls) -> Methods:
    """Reads and writes by their paths."""
    return {
        f"{SERVICE}/Read": reads.read,
        f"{SERVICE}/Append": appends.append,
        f"{SERVICE}/BatchAppend": appends.batch_append,
        f"{SERVICE}/Delete": appends.delete,
        f"{SERVICE}/Tombstone": appends.tombstone,
    }
