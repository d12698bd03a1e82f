"""The Streams service: its methods by their paths."""

from lepret.eventstore.rpc import Methods
from lepret.eventstore.services.read_calls import ReadCalls
from lepret.eventstore.services.write_calls import WriteCalls

SERVICE = "/event_store.client.streams.Streams"


def streams_service(reads: ReadCalls, writes: WriteCalls) -> Methods:
    """The handlers of all methods that this server supports."""
    return {
        f"{SERVICE}/Read": reads.read,
        f"{SERVICE}/Append": writes.append,
        f"{SERVICE}/BatchAppend": writes.batch_append,
        f"{SERVICE}/Delete": writes.delete,
        f"{SERVICE}/Tombstone": writes.tombstone,
    }
