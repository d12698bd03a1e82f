"""What persistent subscriptions refuse, and how."""

from __future__ import annotations

from collections.abc import Callable

import grpc
import pytest
from esdbclient import EventStoreDBClient
from esdbclient.exceptions import (
    ExceptionThrownByHandler,
    GrpcError,
    InternalError,
    NotFound,
)
from esdbclient.protos.Grpc import persistent_pb2, shared_pb2

from tests.integration.lepret.eventstore.events import new_stream
from tests.integration.lepret.eventstore.persistent.groups import (
    Group,
    can_read,
    in_flight,
    replay_request,
    same,
    stub_of,
    subscribe,
)
from tests.integration.lepret.eventstore.refused import refused
from tests.support.event_store import EmbeddedEventStore
from tests.support.processes import PATIENCE, wait_until


@pytest.fixture
def uri(embedded_event_store: EmbeddedEventStore) -> str:
    """The embedded event store alone: EventStoreDB is less clear about bad requests."""
    return embedded_event_store.uri


@pytest.fixture(params=["stream", "all"])
def group(request: pytest.FixtureRequest, client: EventStoreDBClient) -> Group:
    """Runs each test with a group on a stream and on `$all`. The test creates it."""
    return Group(client, on_all=request.param == "all")


class TestRefused:
    @pytest.mark.parametrize(
        "settings",
        [
            {"read_batch_size": 10, "history_buffer_size": 10},
            {"consumer_strategy": "NoSuchStrategy"},
        ],
    )
    def test_impossible_settings(self, group: Group, settings: dict[str, object]) -> None:
        with pytest.raises(InternalError):
            group.create(**settings)
        with pytest.raises(NotFound):
            group.info()

    def test_a_position_beyond_the_end(self, client: EventStoreDBClient) -> None:
        group = Group(client, on_all=True)
        with pytest.raises(InternalError, match="Invalid Start From position"):
            group.create(commit_position=2**62)

    @pytest.mark.parametrize(
        "settings",
        [
            {"max_retry_count": -1},
            {"message_timeout": -1},
            {"checkpoint_after": -1},
            {"live_buffer_size": -1},
            {"min_checkpoint_count": -3, "max_checkpoint_count": -7},
        ],
    )
    def test_negative_numbers_are_taken_and_harmless(
        self, group: Group, settings: dict[str, object]
    ) -> None:
        group.create(**settings)
        events = group.append(2)
        assert same(group.acked(2), events)

    def test_a_negative_maximum_of_subscribers_admits_none(self, group: Group) -> None:
        group.create(max_subscriber_count=-5)
        assert not can_read(group)

    def test_a_timeout_too_large_for_the_answers(self, uri: str) -> None:
        settings = persistent_pb2.CreateReq.Settings(
            message_timeout_ticks=2**62, read_batch_size=1, history_buffer_size=10
        )
        options = persistent_pb2.CreateReq.Options(
            stream=persistent_pb2.CreateReq.StreamOptions(
                stream_identifier=shared_pb2.StreamIdentifier(stream_name=b"s"),
                start=shared_pb2.Empty(),
            ),
            group_name="g",
            settings=settings,
        )
        with stub_of(uri) as stub, refused(grpc.StatusCode.INVALID_ARGUMENT):
            stub.Create(persistent_pb2.CreateReq(options=options), timeout=PATIENCE)

    def test_an_invalid_regular_expression(self, client: EventStoreDBClient) -> None:
        with pytest.raises(ExceptionThrownByHandler):
            client.create_subscription_to_all("g", filter_include=["("])
        _assert_invalid(lambda: client.create_subscription_to_all("g", filter_include=[r"\b"]))

    def test_missing_names(self, client: EventStoreDBClient) -> None:
        _assert_invalid(lambda: client.create_subscription_to_stream("", new_stream()))
        with pytest.raises(ExceptionThrownByHandler):
            client.create_subscription_to_stream("g", "")
        _assert_invalid(lambda: client.get_subscription_info(""))

    def test_empty_requests(self, uri: str) -> None:
        with stub_of(uri) as stub:
            for method, request in (
                (stub.Delete, persistent_pb2.DeleteReq()),
                (stub.GetInfo, persistent_pb2.GetInfoReq()),
                (stub.List, persistent_pb2.ListReq()),
                (stub.ReplayParked, persistent_pb2.ReplayParkedReq()),
            ):
                with refused(grpc.StatusCode.INVALID_ARGUMENT):
                    method(request, timeout=PATIENCE)
            # Theirs lack a stream's name, which makes EventStoreDB's handler throw.
            with refused(grpc.StatusCode.UNKNOWN):
                stub.Create(persistent_pb2.CreateReq(), timeout=PATIENCE)
            with refused(grpc.StatusCode.UNKNOWN):
                stub.Update(persistent_pb2.UpdateReq(), timeout=PATIENCE)

    @pytest.mark.parametrize("buffer", [0, -1])
    def test_a_subscriber_without_a_buffer(
        self, uri: str, client: EventStoreDBClient, buffer: int
    ) -> None:
        group = Group(client).create()
        _assert_read_invalid(uri, [subscribe(group, buffer)])

    def test_a_subscriber_that_sends_nonsense(self, uri: str, client: EventStoreDBClient) -> None:
        group = Group(client).create()
        ack = persistent_pb2.ReadReq(
            ack=persistent_pb2.ReadReq.Ack(ids=[shared_pb2.UUID(string="no id")])
        )
        _assert_read_invalid(uri, [ack])
        _assert_read_invalid(uri, [persistent_pb2.ReadReq()])
        _assert_read_invalid(uri, [subscribe(group), ack])
        _assert_read_invalid(uri, [subscribe(group), subscribe(group)])
        wait_until(lambda: not in_flight(uri, group))

    def test_a_replay_up_to_a_negative_revision(self, uri: str, client: EventStoreDBClient) -> None:
        group = Group(client).create()
        with stub_of(uri) as stub, refused(grpc.StatusCode.INTERNAL):
            stub.ReplayParked(replay_request(group, stop_at=-1), timeout=PATIENCE)

    def test_with_the_trailers_that_clients_read(self, uri: str) -> None:
        request = persistent_pb2.GetInfoReq(
            options=persistent_pb2.GetInfoReq.Options(all=shared_pb2.Empty(), group_name="none")
        )
        with stub_of(uri) as stub, refused(grpc.StatusCode.NOT_FOUND) as refusal:
            stub.GetInfo(request, timeout=PATIENCE)
        trailers = {datum.key: str(datum.value) for datum in refusal.value.trailing_metadata()}
        assert trailers == {
            "exception": "persistent-subscription-does-not-exist",
            "stream-name": "$all",
            "group-name": "none",
        }


def _assert_invalid(call: Callable[[], object]) -> None:
    with pytest.raises(GrpcError, match="INVALID_ARGUMENT"):
        call()


def _assert_read_invalid(uri: str, requests: list[persistent_pb2.ReadReq]) -> None:
    with stub_of(uri) as stub, refused(grpc.StatusCode.INVALID_ARGUMENT):
        list(stub.Read(iter(requests), timeout=PATIENCE))
