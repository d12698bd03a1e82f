"""How often connections to the event store are tried, and how long an answer may take."""

from __future__ import annotations

import pytest
from esdbclient.connection_spec import ConnectionSpec

from lepret.common.event_store_channels import with_keepalive

NODE = "esdb://a:2113?tls=false"
CLUSTER = "esdb://a:2113,b:2113?tls=false"
NEVER = 2**31 - 1


@pytest.mark.parametrize(
    ("uri", "interval", "timeout"),
    [
        (NODE, 1_500, 5_000),
        (CLUSTER, 1_500, 1_500),
        ("esdb+discover://a?tls=false", 1_500, 1_500),
        (f"{CLUSTER}&keepAliveInterval=7000&keepAliveTimeout=300", 7_000, 300),
        (f"{NODE}&keepAliveInterval=-1&keepAliveTimeout=0", NEVER, NEVER),
        (f"{NODE}&keepAliveTimeout=99999999999", 1_500, NEVER),
    ],
)
def test_the_uri_says_so_or_else_the_kind_of_event_store(
    uri: str, interval: int, timeout: int
) -> None:
    options = dict(with_keepalive((), ConnectionSpec(uri)))
    assert options["grpc.keepalive_time_ms"] == interval
    assert options["grpc.keepalive_timeout_ms"] == timeout
    assert options["grpc.http2.ping_timeout_ms"] == timeout
    assert options["grpc.keepalive_permit_without_calls"] == 1
    assert options["grpc.http2.max_pings_without_data"] == 0


def test_no_other_keepalive_comes_before_ours_and_the_rest_stays() -> None:
    # As esdbclient has them. gRPC takes the first of two.
    theirs = (
        ("grpc.max_receive_message_length", 17),
        ("grpc.keepalive_ms", -1),
        ("grpc.keepalive_timeout_ms", -1),
    )
    spec = ConnectionSpec(f"{NODE}&keepAliveInterval=-1&keepAliveTimeout=-1")
    once = with_keepalive(theirs, spec)
    assert len(dict(once)) == len(once)
    assert ("grpc.max_receive_message_length", 17) in once
    assert "grpc.keepalive_ms" not in dict(once)
