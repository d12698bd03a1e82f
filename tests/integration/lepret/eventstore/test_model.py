"""The event store compared with a small model of a log."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import pytest
from esdbclient import EventStoreDBClient, NewEvent, RecordedEvent
from esdbclient.exceptions import (
    FailedPrecondition,
    NotFound,
    StreamIsDeleted,
    WrongCurrentVersion,
)
from hypothesis import settings, strategies
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.integration.lepret.eventstore.conftest import Connect
from tests.integration.lepret.eventstore.events import ANY, EXISTS, NO_STREAM, Expected
from tests.support.event_store import EmbeddedEventStore

DELETED = TOMBSTONE = 2**63 - 1
"""The `$tb` of a deleted stream, and the revision of a tombstone."""

CURRENT, BEFORE_CURRENT = -1, -2
"""Expected revisions, relative to the next one."""

STREAMS = strategies.integers(0, 2)
PLACES = strategies.integers(0, 10)
LIMITS = strategies.integers(1, 5)
EXPECTED = strategies.sampled_from([ANY, NO_STREAM, EXISTS, CURRENT, BEFORE_CURRENT, 1])
METADATA = strategies.fixed_dictionaries(
    {}, optional={"$maxCount": strategies.integers(1, 4), "$tb": strategies.integers(0, 6)}
)


Batch = tuple[int, Expected, list[UUID]]
"""An append: the number of the stream, the expectation, and the events' ids."""


class Answer(Enum):
    """The outcome of a write."""

    DONE = "done"
    WRONG_VERSION = "wrong version"
    NOT_FOUND = "not found"
    DELETED = "deleted"


class Event(NamedTuple):
    """An event of the model."""

    stream: str
    revision: int
    id: UUID | None
    """None for events that the server writes by itself."""


class Model:
    """The log: each event's stream, revision and id, in order; and the streams' metadata."""

    def __init__(self) -> None:
        self.log: list[Event] = []
        self.metadata: dict[str, dict[str, int]] = {}

    def stream(self, name: str) -> list[UUID | None]:
        return [event.id for event in self.log if event.stream == name]

    def is_absent(self, name: str) -> bool:
        return not self.stream(name) and name not in self.metadata

    def is_tombstoned(self, name: str) -> bool:
        return Event(name, TOMBSTONE, None) in self.log

    def truncate_before(self, name: str) -> int:
        return self.metadata.get(name, {}).get("$tb", 0)

    def is_deleted(self, name: str) -> bool:
        return self.truncate_before(name) == DELETED

    def readable(self, name: str) -> list[tuple[int, UUID | None]]:
        """Revisions and ids of the events that are not hidden."""
        events = list(enumerate(self.stream(name)))
        newest = events[-self.metadata.get(name, {}).get("$maxCount", len(events)) :]
        return [event for event in newest if event[0] >= self.truncate_before(name)]

    # Writing ------------------------------------------------------------------------

    def append(self, name: str, expected: Expected, ids: list[UUID]) -> Answer:
        answer = self._check(name, expected, ids)
        if answer is None:
            first = len(self.stream(name))
            self._add(name, ids)
            if self.is_deleted(name):
                self._set(name, {"$tb": first})
        return answer or Answer.DONE

    def delete(self, name: str, expected: Expected) -> Answer:
        if self.is_absent(name):
            return Answer.NOT_FOUND
        answer = self._check(name, expected, [uuid4()])
        if answer is None:
            self._set(name, {"$tb": DELETED})
        return self._of_deleting(name, answer)

    def tombstone(self, name: str, expected: Expected) -> Answer:
        answer = self._check(name, expected, [uuid4()])
        if answer is None:
            self.log.append(Event(name, TOMBSTONE, None))
        return self._of_deleting(name, answer)

    def _of_deleting(self, name: str, answer: Answer | None) -> Answer:
        """Only deletes answer *not found* for a stream without events."""
        if answer is Answer.WRONG_VERSION and not self.stream(name):
            return Answer.NOT_FOUND
        return answer or Answer.DONE

    def set_metadata(self, name: str, metadata: dict[str, int]) -> Answer:
        if self.is_tombstoned(name):
            return Answer.DELETED
        was_deleted = self.is_deleted(name)
        self._set(name, metadata)
        if was_deleted:
            self._set(name, {**metadata, "$tb": len(self.stream(name))})
        return Answer.DONE

    def _check(self, name: str, expected: Expected, ids: list[UUID]) -> Answer | None:
        """None if these events are to be written, DONE if they were written before."""
        if self.is_tombstoned(name) or (expected is EXISTS and self.is_deleted(name)):
            return Answer.DELETED
        if expected is EXISTS and self.is_absent(name):
            return Answer.WRONG_VERSION
        if expected in {ANY, EXISTS}:
            return self._check_anywhere(name, ids)
        if isinstance(expected, int):
            return self._check_at(name, [expected + 1], ids)
        answer = self._check_at(name, [0, self.truncate_before(name)], ids)
        if answer is Answer.WRONG_VERSION and self.is_deleted(name):
            return self._check_anywhere(name, ids)
        return answer

    def _check_anywhere(self, name: str, ids: list[UUID]) -> Answer | None:
        known = [event_id in self.stream(name) for event_id in ids]
        if not any(known):
            return None
        return Answer.DONE if all(known) else Answer.WRONG_VERSION

    def _check_at(self, name: str, begins: list[int], ids: list[UUID]) -> Answer | None:
        """The events must start at the first of these revisions, or repeat those at any of them."""
        stream = self.stream(name)
        if begins[0] == len(stream):
            return None
        is_repeat = any(stream[begin : begin + len(ids)] == ids for begin in begins)
        return Answer.DONE if is_repeat else Answer.WRONG_VERSION

    def _set(self, name: str, metadata: dict[str, int]) -> None:
        self.metadata[name] = metadata
        self._add(f"$${name}", [None])

    def _add(self, name: str, ids: list[UUID] | list[None]) -> None:
        first = len(self.stream(name))
        self.log += [Event(name, first + n, event_id) for n, event_id in enumerate(ids)]


class Machine(RuleBasedStateMachine):
    """All operations of clients, on three streams of each run's own."""

    store: EmbeddedEventStore
    client: EventStoreDBClient
    batches: Bundle[Batch] = Bundle("batches")

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.names = [f"Model:{uuid4()}" for _ in range(3)]
        self.start = self.client.get_commit_position(filter_exclude=()) + 1
        self.restarted = False

    # Writing ------------------------------------------------------------------------

    @rule(target=batches, stream=STREAMS, size=strategies.integers(1, 3), expected=EXPECTED)
    def append_new(self, stream: int, size: int, expected: Expected) -> Any:
        ids = [uuid4() for _ in range(size)]
        batch = (stream, self._expected(stream, expected), ids)
        self._append(*batch)
        return batch

    @rule(batch=batches)
    def retry(self, batch: Batch) -> None:
        self._append(*batch)

    @rule(batch=batches, stream=STREAMS, expected=EXPECTED)
    def append_old_ones(self, batch: Batch, stream: int, expected: Expected) -> None:
        self._append(stream, self._expected(stream, expected), batch[2])

    @rule(batch=batches, expected=EXPECTED)
    def append_old_and_new_ones(self, batch: Batch, expected: Expected) -> None:
        stream, _, ids = batch
        self._append(stream, self._expected(stream, expected), [*ids, uuid4()])

    @rule(stream=STREAMS, expected=EXPECTED)
    def delete(self, stream: int, expected: Expected) -> None:
        name, version = self.names[stream], self._expected(stream, expected)
        answer = _answer(lambda: self.client.delete_stream(name, current_version=version))
        assert answer is self.model.delete(name, version)

    @precondition(lambda self: len(self.model.log) > 8)
    @rule(stream=STREAMS, expected=EXPECTED)
    def tombstone(self, stream: int, expected: Expected) -> None:
        name, version = self.names[stream], self._expected(stream, expected)
        answer = _answer(lambda: self.client.tombstone_stream(name, current_version=version))
        assert answer is self.model.tombstone(name, version)

    @rule(stream=STREAMS, metadata=METADATA)
    def set_metadata(self, stream: int, metadata: dict[str, int]) -> None:
        name = self.names[stream]
        answer = _answer(lambda: self.client.set_stream_metadata(name, metadata=metadata))
        assert answer is self.model.set_metadata(name, metadata)

    @precondition(lambda self: len(self.model.log) > 8 and not self.restarted)
    @rule(kill=strategies.booleans())
    def restart(self, kill: bool) -> None:
        if kill:
            self.store.crash()
        else:
            self.store.restart()
        self.client.get_commit_position()  # Makes the client connect again.
        self.restarted = True

    # Reading ------------------------------------------------------------------------

    @rule(stream=STREAMS, start=PLACES, backwards=strategies.booleans(), limit=LIMITS)
    def read_a_part_of_a_stream(self, stream: int, start: int, backwards: bool, limit: int) -> None:
        readable = self.model.readable(self.names[stream])
        if backwards:
            wanted = [event for event in reversed(readable) if event[0] <= start]
        else:
            wanted = [event for event in readable if event[0] >= start]
        read = self._read(stream, stream_position=start, backwards=backwards, limit=limit)
        assert read is None or read == wanted[:limit]

    @rule(start=PLACES, backwards=strategies.booleans(), limit=LIMITS)
    def read_a_part_of_all(self, start: int, backwards: bool, limit: int) -> None:
        start = min(start, len(self.model.log))
        log = self.model.log[:start][::-1] if backwards else self.model.log[start:]
        read = self._read_all(start, backwards=backwards, limit=limit)
        assert read[: len(log)] == log[:limit]

    @invariant()
    def all_is_as_in_the_model(self) -> None:
        assert self._read_all(0) == self.model.log

    @invariant()
    def streams_are_as_in_the_model(self) -> None:
        for number, name in enumerate(self.names):
            read = self._read(number)
            if self.model.is_tombstoned(name):
                continue
            is_there = self.model.stream(name) and not self.model.is_deleted(name)
            assert read == (self.model.readable(name) if is_there else None)
            metadata, _ = self.client.get_stream_metadata(name)
            assert metadata == self.model.metadata.get(name, {})

    def _expected(self, stream: int, expected: Expected) -> Expected:
        """The expectation, with a relative revision made absolute."""
        if not isinstance(expected, int) or expected >= 0:
            return expected
        return max(0, len(self.model.stream(self.names[stream])) + expected)

    def _append(self, stream: int, expected: Expected, ids: list[UUID]) -> None:
        name = self.names[stream]
        events = [NewEvent(type="Modelled", data=b"{}", id=event_id) for event_id in ids]
        answer = _answer(
            lambda: self.client.append_to_stream(name, current_version=expected, events=events)
        )
        assert answer is self.model.append(name, expected, ids)

    def _read(self, stream: int, **options: Any) -> list[tuple[int, UUID]] | None:
        """Revisions and ids; None for a stream that does not exist or is deleted."""
        name = self.names[stream]
        try:
            events = self.client.get_stream(name, **options)
        except NotFound:
            return None
        except StreamIsDeleted:
            assert self.model.is_tombstoned(name)
            return None
        return [(event.stream_position, event.id) for event in events]

    def _read_all(self, start: int, **options: Any) -> list[Event]:
        """`$all` from an index in the model's log on."""
        events = self.client.read_all(
            commit_position=self.start + start, filter_exclude=(), **options
        )
        return [_modelled(event) for event in events]


def _modelled(event: RecordedEvent) -> Event:
    by_server = event.is_system_event
    return Event(event.stream_name, event.stream_position, None if by_server else event.id)


def _answer(write: Callable[[], object]) -> Answer:
    try:
        write()
    except NotFound:
        return Answer.NOT_FOUND
    except WrongCurrentVersion:
        return Answer.WRONG_VERSION
    except (StreamIsDeleted, FailedPrecondition):
        return Answer.DELETED
    return Answer.DONE


# When it fails, Hypothesis takes minutes to find the shortest example.
@pytest.mark.timeout(600)
def test_the_event_store_is_like_the_model(store: EmbeddedEventStore, connect: Connect) -> None:
    class ConnectedMachine(Machine):
        pass

    ConnectedMachine.store = store
    ConnectedMachine.client = connect(store.uri)
    run_state_machine_as_test(
        ConnectedMachine,
        settings=settings(
            max_examples=25,
            stateful_step_count=30,
        ),
    )
