"""The Streams service, method by method."""

from lepret.eventstore.rpc import Methods
from lepret.eventstore.services.read_calls import ReadCalls
from lepret.eventstore.services.write_calls import WriteCalls

SERVICE = "/event_store.client.streams.Streams"


def streams_service(reads: ReadCalls, appends: WriteCalls) -> Methods:
    """Reads and writes by their paths."""
    return {
        f"{SERVICE}/Read": reads.read,
        f"{SERVICE}/Append": appends.append,
        f"{SERVICE}/BatchAppend": appends.batch_append,
        f"{SERVICE}/Delete": appends.delete,
        f"{SERVICE}/Tombstone": appends.tombstone,
    }
