"""The services ServerFeatures, Health and Gossip."""

from __future__ import annotations

import grpc
import httpx2
import pytest
from esdbclient.protos.Grpc import gossip_pb2, gossip_pb2_grpc, shared_pb2
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from lepret.eventstore.newer_messages import SupportedMethods
from lepret.eventstore.services.server_features import PATH
from tests.integration.lepret.eventstore.refused import refused
from tests.support.event_store import EmbeddedEventStore
from tests.support.processes import PATIENCE

STREAMS = "event_store.client.streams.Streams"


class TestServerFeatures:
    def test_names_methods_as_clients_look_for_them(self, channel: grpc.Channel) -> None:
        supported = channel.unary_unary(PATH, None, SupportedMethods.FromString)(
            b"", timeout=PATIENCE
        )
        methods = {
            f"{method.service_name}/{method.method_name}": list(method.features)
            for method in supported.methods
        }
        assert supported.event_store_server_version == "24.10.5"
        assert methods[f"{STREAMS.lower()}/read"] == ["position", "events"]
        assert methods[f"{STREAMS.lower()}/batchappend"] == ["deadline_duration"]
        assert methods[f"{STREAMS.lower()}/append"] == []
        assert methods[PATH.lower().removeprefix("/")] == []
        assert not [name for name in methods if "health" in name]


class TestHealth:
    @pytest.mark.parametrize("service", ["", STREAMS])
    def test_is_healthy(self, channel: grpc.Channel, service: str) -> None:
        answer = _health(channel).Check(HealthCheckRequest(service=service), timeout=PATIENCE)
        assert answer.status == HealthCheckResponse.SERVING

    def test_does_not_know_other_services(self, channel: grpc.Channel) -> None:
        request = HealthCheckRequest(service="no.such.Service")
        with refused(grpc.StatusCode.NOT_FOUND):
            _health(channel).Check(request, timeout=PATIENCE)
        first = next(_health(channel).Watch(request, timeout=PATIENCE))
        assert first.status == HealthCheckResponse.SERVICE_UNKNOWN

    def test_is_watched_until_the_server_stops(self, store: EmbeddedEventStore) -> None:
        with grpc.insecure_channel(f"localhost:{store.port}") as channel:
            watch = _health(channel).Watch(HealthCheckRequest(), timeout=PATIENCE)
            assert next(watch).status == HealthCheckResponse.SERVING
            store.stop()
            with refused(grpc.StatusCode.UNAVAILABLE):
                next(watch)

    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    def test_is_alive_in_http_1(self, store: EmbeddedEventStore, method: str) -> None:
        url = f"http://127.0.0.1:{store.port}/health/live"
        answers = [
            httpx2.request(method, url, trust_env=False, timeout=PATIENCE).status_code
            for _ in range(2)
        ]
        assert answers == [httpx2.codes.NO_CONTENT] * 2
        store.stop()
        with pytest.raises(httpx2.TransportError):
            httpx2.request(method, url, trust_env=False, timeout=PATIENCE)


class TestGossip:
    @pytest.mark.parametrize(
        ("authority", "host", "port"),
        [
            (None, "localhost", None),
            ("events.example:2113", "events.example", 2113),
            ("[::1]:2113", "[::1]", 2113),
            ("events.example", "events.example", 80),
            ("[::1]", "[::1]", 80),
        ],
    )
    def test_names_the_node_as_the_client_did(
        self,
        embedded_event_store: EmbeddedEventStore,
        authority: str | None,
        host: str,
        port: int | None,
    ) -> None:
        (member,) = _gossip(embedded_event_store, authority).members
        assert (member.state, member.is_alive) == (gossip_pb2.MemberInfo.Leader, True)
        end_point = member.http_end_point
        assert (end_point.address, end_point.port) == (host, port or embedded_event_store.port)

    @pytest.mark.parametrize("authority", ["host:port", "host:99999999", "::1", ":2113", "[::1"])
    def test_refuses_an_invalid_authority(
        self, embedded_event_store: EmbeddedEventStore, authority: str
    ) -> None:
        with refused(grpc.StatusCode.INVALID_ARGUMENT):
            _gossip(embedded_event_store, authority)


def _gossip(store: EmbeddedEventStore, authority: str | None) -> gossip_pb2.ClusterInfo:
    options = [] if authority is None else [("grpc.default_authority", authority)]
    with grpc.insecure_channel(f"localhost:{store.port}", options) as channel:
        stub = gossip_pb2_grpc.GossipStub(channel)  # type: ignore[no-untyped-call]
        answer = stub.Read(shared_pb2.Empty(), timeout=PATIENCE)
        assert isinstance(answer, gossip_pb2.ClusterInfo)
        return answer


def _health(channel: grpc.Channel) -> HealthStub:
    return HealthStub(channel)
