"""The Streams service: its methods by their paths."""

from lepret.eventstore.rpc import Methods
from lepret.eventstore.services.read_calls import ReadCalls
from lepret.eventstore.services.write_calls import WriteCalls

SERVICE = "/event_store.client.streams.Streams"


def streams_service(reads: ReadCalls, appends: WriteCalls) -> Methods:
    """Handlers of all methods that this server has."""
    return {
        f"{SERVICE}/Read": reads.read,
        f"{SERVICE}/Append": appends.append,
        f"{SERVICE}/BatchAppend": appends.batch_append,
        f"{SERVICE}/Delete": appends.delete,
        f"{SERVICE}/Tombstone": appends.tombstone,
    }
