from __future__ import annotations

from collections.abc import Iterator

import pytest
from esdbclient import EventStoreDBClient
from esdbclient.protos.Grpc.persistent_pb2_grpc import PersistentSubscriptionsStub

from tests.integration.lepret.eventstore.answers.book import expected_answers
from tests.integration.lepret.eventstore.answers.scene import Scene
from tests.integration.lepret.eventstore.persistent.groups import stub_of
from tests.support.event_store import running_embedded_event_store

ANSWERS = expected_answers()


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a store of the module's own: where a read ends depends on what else is in `$all`."""
    with running_embedded_event_store(tmp_path_factory.mktemp("answers")) as store:
        yield store.uri


@pytest.fixture(scope="module")
def client(uri: str) -> Iterator[EventStoreDBClient]:
    with EventStoreDBClient(uri) as client:
        yield client


@pytest.fixture(scope="module")
def stub(uri: str) -> Iterator[PersistentSubscriptionsStub]:
    with stub_of(uri) as stub:
        yield stub


@pytest.mark.parametrize("step", ANSWERS)
def test_the_embedded_event_store_answers_as_the_real_one(
    client: EventStoreDBClient, stub: PersistentSubscriptionsStub, step: str
) -> None:
    expected = ANSWERS[step]
    assert Scene(client, stub).play(expected) == expected
