"""What the doctor says of an event store: a real one that runs, hangs, is full, or is away."""

from __future__ import annotations

import time

import pytest
from esdbclient.exceptions import AccessDeniedError, NodeIsNotLeader, ServiceUnavailable
from pytest_django import Settings

from lepret.common.event_store_client import close_event_store_client, event_store_client
from lepret.doctor.event_store import reads, reads_and_appends
from lepret.doctor.report import SECONDS, Trouble
from tests.support.event_store import RunningEventStore
from tests.support.processes import PATIENCE, free_port
from tests.support.swallowing_proxy import running_swallowing_proxy


def trouble(settings: Settings, uri: str) -> str:
    """What is said of the event store at `uri`, which is not fine."""
    settings.EVENTSTORE_URI = uri
    try:
        with pytest.raises(Trouble) as raised:
            reads_and_appends()
    finally:
        close_event_store_client()
    assert "hidden" not in str(raised.value)
    return str(raised.value)


def test_one_that_works_is_named_with_its_version(event_store: RunningEventStore) -> None:
    place = f"EventStoreDB 24.10.5 at 127.0.0.1:{event_store.port} answers"
    assert reads_and_appends() == f"{place}, and takes events"
    assert reads() == f"{place}; whether it takes events was not tried"


def test_one_that_is_stopped_is_to_be_started(
    event_store: RunningEventStore, settings: Settings
) -> None:
    event_store.stop()
    uri = event_store.uri.replace("//", "//me:hidden@")
    assert trouble(settings, uri) == (
        f"nothing listens at 127.0.0.1:{event_store.port}: start the event store, or correct "
        "EVENTSTORE_URI"
    )


def test_one_that_hangs_is_given_up_in_time(
    event_store: RunningEventStore, settings: Settings
) -> None:
    began = time.monotonic()
    with event_store.frozen():
        assert "does not answer in 4 s" in trouble(settings, event_store.uri)
    assert time.monotonic() - began < SECONDS


def test_one_behind_a_network_that_swallows_is_given_up_in_time(
    event_store: RunningEventStore, settings: Settings
) -> None:
    with running_swallowing_proxy(event_store.port) as proxy:
        proxy.is_swallowing = True
        uri = f"esdb://127.0.0.1:{proxy.port}?tls=false"
        assert f"127.0.0.1:{proxy.port} does not answer" in trouble(settings, uri)


def test_tls_on_our_side_only_is_named(event_store: RunningEventStore, settings: Settings) -> None:
    uri = f"esdb://me:hidden@127.0.0.1:{event_store.port}"
    assert "speaks no TLS, and EVENTSTORE_URI wants it" in trouble(settings, uri)


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("esdb://me:hidden@host.invalid:1?tls=false", "there is no host host.invalid"),
        ("esdb://127.0.0.1:1,127.0.0.1:2?tls=false", "none of 127.0.0.1:1, 127.0.0.1:2 says"),
        ("esdb://127.0.0.1:1", "EVENTSTORE_URI cannot be read"),
        ("esdb://me:hid/hidden@127.0.0.1:1", "EVENTSTORE_URI cannot be read"),
        ("esdb://me:hid/hidden@127.0.0.1:1?tls=false", "EVENTSTORE_URI cannot be read"),
        ("esdb://me:hid@hidden@127.0.0.1:1?tls=false", "EVENTSTORE_URI cannot be read"),
        (
            "esdb://me:hidden@127.0.0.1:1?tlsCaFile=/no/such.crt",
            "tlsCaFile=/no/such.crt in EVENTSTORE_URI",
        ),
    ],
)
def test_a_wrong_uri_is_to_be_corrected(settings: Settings, uri: str, words: str) -> None:
    assert words in trouble(settings, uri)


@pytest.mark.usefixtures("streams")
@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ServiceUnavailable("hidden"), "takes no events: make room on its disk"),
        (AccessDeniedError(), "add --no-appends there"),
        (NodeIsNotLeader(None), "does not lead: name all nodes"),
    ],
)
def test_one_that_only_reads_is_told_apart(
    monkeypatch: pytest.MonkeyPatch, error: Exception, words: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(event_store_client(), "append_to_stream", refuse)
    with pytest.raises(Trouble, match=words) as raised:
        reads_and_appends()
    assert "hidden" not in str(raised.value)
    assert "answers" in reads(), "a projector needs no more"


def test_nothing_is_left_in_a_stream_that_anybody_reads(event_store: RunningEventStore) -> None:
    reads_and_appends()
    assert list(event_store_client().read_all(timeout=PATIENCE)) == []


def test_a_free_port_is_not_taken_for_an_event_store(settings: Settings) -> None:
    assert "nothing listens" in trouble(settings, f"esdb://127.0.0.1:{free_port()}?tls=false")
