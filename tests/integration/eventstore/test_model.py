"""The event store beside a model of a log that is small enough to be seen right."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from esdbclient import EventStoreDBClient, NewEvent
from esdbclient.exceptions import NotFound, WrongCurrentVersion
from hypothesis import HealthCheck, settings, strategies
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.integration.eventstore.events import ANY, EXISTS, NO_STREAM, Expected
from tests.support.event_store import running_event_store


class Model:
    """The log: each event's stream and id, in order."""

    def __init__(self) -> None:
        self.log: list[tuple[str, UUID]] = []

    def stream(self, name: str) -> list[UUID]:
        return [event_id for stream, event_id in self.log if stream == name]

    def append(self, name: str, expected: Expected, ids: list[UUID]) -> bool:
        """Whether the append is accepted; a retry is, and writes nothing."""
        stream = self.stream(name)
        if expected is NO_STREAM:
            start = 0
        else:
            start = expected + 1 if isinstance(expected, int) else len(stream)
        if expected is EXISTS and not stream:
            return False
        if expected in {ANY, EXISTS} and any(event_id in stream for event_id in ids):
            return all(event_id in stream for event_id in ids)
        if start == len(stream):
            self.log += [(name, event_id) for event_id in ids]
            return True
        return start < len(stream) and stream[start : start + len(ids)] == ids


class Machine(RuleBasedStateMachine):
    """Appends of new and of old events, to three streams of each run's own."""

    client: EventStoreDBClient
    batches: Bundle[list[UUID]] = Bundle("batches")

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.names = [f"Model:{uuid4()}" for _ in range(3)]
        self.start = self.client.get_commit_position(filter_exclude=())

    @rule(
        target=batches,
        stream=strategies.integers(0, 2),
        size=strategies.integers(1, 3),
        expected=strategies.sampled_from([ANY, NO_STREAM, EXISTS, 0, 1, 2, 3]),
    )
    def append_new(self, stream: int, size: int, expected: Expected) -> Any:
        ids = [uuid4() for _ in range(size)]
        self._append(stream, expected, ids)
        return ids

    @rule(
        stream=strategies.integers(0, 2),
        ids=batches,
        expected=strategies.sampled_from([ANY, NO_STREAM, EXISTS, 0, 1, 2, 3]),
    )
    def append_again(self, stream: int, ids: list[UUID], expected: Expected) -> None:
        self._append(stream, expected, ids)

    @precondition(lambda self: self.model.log)
    @rule(back=strategies.integers(0, 5))
    def read_backwards(self, back: int) -> None:
        read = list(self.client.read_all(backwards=True, limit=back))
        newest = [event_id for _, event_id in reversed(self.model.log)]
        assert [e.id for e in read if e.id in newest] == newest[:back][: len(read)]

    @invariant()
    def all_is_as_in_the_model(self) -> None:
        read = list(self.client.read_all(commit_position=self.start + 1))
        assert [(e.stream_name, e.id) for e in read] == self.model.log

    @invariant()
    def streams_are_as_in_the_model(self) -> None:
        for name in self.names:
            try:
                ids = [event.id for event in self.client.get_stream(name)]
            except NotFound:
                ids = []
            assert ids == self.model.stream(name)

    def _append(self, stream: int, expected: Expected, ids: list[UUID]) -> None:
        events = [NewEvent(type="Modelled", data=b"{}", id=event_id) for event_id in ids]
        try:
            self.client.append_to_stream(
                self.names[stream], current_version=expected, events=events
            )
            accepted = True
        except WrongCurrentVersion:
            accepted = False
        assert accepted == self.model.append(self.names[stream], expected, ids)


@pytest.fixture
def model_client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EventStoreDBClient]:
    with running_event_store(tmp_path_factory.mktemp("model") / "events.sqlite") as store:
        client = EventStoreDBClient(store.uri)
        yield client
        client.close()


def test_the_event_store_is_like_the_model(model_client: EventStoreDBClient) -> None:
    class ConnectedMachine(Machine):
        client = model_client

    run_state_machine_as_test(
        ConnectedMachine,
        settings=settings(
            max_examples=25,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
