"""What is said of an event store that refuses, by its answers and by TLS."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest
from esdbclient import EventStoreDBClient, NewEvent, StreamState
from esdbclient.connection_spec import ConnectionSpec
from esdbclient.exceptions import EventStoreDBClientException

from lepret.common.event_store_connection import SharedClient
from lepret.common.event_store_refusals import in_words
from lepret.deployment.certificates import certificate_for, new_authority
from tests.support.event_store import RunningEventStore
from tests.support.guarded_store import (
    ADMINS,
    EVERYBODY,
    GuardedStore,
    authority,
    running_guarded_store,
)
from tests.support.processes import PATIENCE

# For calls that fail, of which a cluster's go on for as long.
SHORT: Final = 1.0
SEE: Final = 'in EventStoreDB: see "What EventStoreDB refuses" in docs/operations.md'
LONG: Final = timedelta(days=900)

single_and_cluster = pytest.mark.parametrize("scheme", ["esdb", "esdb+discover"])


@pytest.fixture
def store(event_store: RunningEventStore, tmp_path: Path) -> Iterator[GuardedStore]:
    with running_guarded_store(event_store, tmp_path) as store:
        yield store


@contextmanager
def listening_and_silent() -> Iterator[int]:
    """A port on which connections are accepted, and nothing is answered."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def said_of(
    uri: str,
    call: Callable[[EventStoreDBClient], object] = lambda client: client.get_commit_position(
        filter_exclude=(), timeout=SHORT
    ),
) -> str | None:
    """What is said of a call that fails."""
    with pytest.raises(EventStoreDBClientException) as caught, SharedClient(uri) as client:
        call(client)
    words = in_words(caught.value, ConnectionSpec(uri))
    assert "secret" not in (words or "")
    return words


def append(client: EventStoreDBClient, *, count: int) -> None:
    events = [NewEvent("Type", b"{}") for _ in range(count)]
    client.append_to_stream(
        "stream",
        current_version=StreamState.ANY,
        events=events[0] if count == 1 else events,
        timeout=PATIENCE,
    )


@single_and_cluster
class TestAPassword:
    def test_that_is_wrong(self, store: GuardedStore, scheme: str) -> None:
        store.users["lepret"].password = "the secret"
        uri = store.uri().replace("the secret", "another-secret").replace("esdb", scheme, 1)
        assert said_of(uri) == (
            "EventStoreDB refuses the password of lepret, or has no such user: correct "
            "EVENTSTORE_URI, or the user in EventStoreDB"
        )


class TestARight:
    """What a user may not do who has only the rights that everybody has by default."""

    @single_and_cluster
    def test_to_read_all(self, store: GuardedStore, scheme: str) -> None:
        uri = store.uri().replace("esdb", scheme, 1)
        assert said_of(uri) == f"lepret may not read $all {SEE}"

    @pytest.mark.parametrize(
        "call",
        [
            lambda client: list(client.read_all(timeout=PATIENCE)),
            lambda client: client.subscribe_to_all(timeout=PATIENCE),
            lambda client: client.read_subscription_to_all("group", timeout=PATIENCE),
        ],
        ids=["by a read", "by a subscription", "by a group"],
    )
    def test_to_read_all_in_any_way(
        self, store: GuardedStore, call: Callable[[EventStoreDBClient], object]
    ) -> None:
        with SharedClient(store.uri("admin")) as admin:
            admin.create_subscription_to_all("group", timeout=PATIENCE)
        assert said_of(store.uri(), call) == f"lepret may not read $all {SEE}"

    @pytest.mark.parametrize(
        "call",
        [
            lambda client: client.create_subscription_to_all("group", timeout=PATIENCE),
            lambda client: client.update_subscription_to_all("group", timeout=PATIENCE),
            lambda client: client.delete_subscription("group", timeout=PATIENCE),
            lambda client: client.replay_parked_events("group", timeout=PATIENCE),
        ],
        ids=["made", "changed", "deleted", "replayed"],
    )
    def test_to_groups(
        self, store: GuardedStore, call: Callable[[EventStoreDBClient], object]
    ) -> None:
        with SharedClient(store.uri("admin")) as admin:
            admin.create_subscription_to_all("group", timeout=PATIENCE)
        assert said_of(store.uri(), call) == (
            f"lepret may not make, change or delete persistent subscriptions {SEE}"
        )

    @pytest.mark.parametrize("count", [1, 2])
    def test_to_append(self, store: GuardedStore, count: int) -> None:
        set_rights(store, "stream", {"$r": EVERYBODY, "$w": ADMINS})
        words = said_of(store.uri(), lambda client: append(client, count=count))
        assert words == f"lepret may not append events {SEE}"

    def test_to_read_a_stream(self, store: GuardedStore) -> None:
        set_rights(store, "stream", {"$r": ADMINS})
        words = said_of(store.uri(), lambda client: client.get_stream("stream", timeout=PATIENCE))
        assert words == f"lepret may not read streams {SEE}"


def set_rights(store: GuardedStore, stream: str, rights: dict[str, str]) -> None:
    with closing(EventStoreDBClient(store.uri("admin"))) as admin:
        admin.set_stream_metadata(
            stream, metadata={"$acl": rights}, current_version=StreamState.ANY, timeout=PATIENCE
        )


@single_and_cluster
class TestTLS:
    def test_by_a_certificate_of_another_authority(
        self, store: GuardedStore, tmp_path: Path, scheme: str
    ) -> None:
        other = tmp_path / "other.crt"
        other.write_text(new_authority(datetime.now(UTC)).certificate)
        uri = store.uri(ca_file=other).replace("esdb", scheme, 1)
        assert said_of(uri) == (
            f"the certificate of 127.0.0.1:{store.port} is signed by none that tlsCaFile={other} "
            "names: correct the file"
        )

    def test_by_a_certificate_of_an_authority_without_a_name(
        self, store: GuardedStore, scheme: str
    ) -> None:
        uri = store.uri().partition("&")[0].replace("esdb", scheme, 1)
        assert said_of(uri) == (
            f"the certificate of 127.0.0.1:{store.port} is signed by none that is trusted: name "
            "its authority's file by tlsCaFile"
        )

    @pytest.mark.parametrize(
        ("age", "words"),
        [
            (LONG, "has expired, by the clock of this machine: renew it"),
            (-LONG, "is not valid yet, by the clock of this machine: correct one of the two"),
        ],
        ids=["too old", "too new"],
    )
    def test_by_a_certificate_at_another_time(
        self, store: GuardedStore, scheme: str, age: timedelta, words: str
    ) -> None:
        store.show(certificate_for("localhost", authority(), datetime.now(UTC) - age))
        uri = store.uri().replace("esdb", scheme, 1)
        assert said_of(uri) == f"the certificate of 127.0.0.1:{store.port} {words}"

    def test_by_a_certificate_of_another_host(
        self, event_store: RunningEventStore, tmp_path: Path, scheme: str
    ) -> None:
        with running_guarded_store(event_store, tmp_path, host="127.0.0.2") as store:
            assert said_of(store.uri().replace("esdb", scheme, 1)) == (
                f"the certificate of 127.0.0.2:{store.port} is for other hosts: name the node as "
                "its certificate does, or renew that"
            )

    def test_that_only_the_store_speaks(self, store: GuardedStore, scheme: str) -> None:
        uri = store.uri(tls=False).replace("esdb", scheme, 1)
        assert said_of(uri) == (
            f"127.0.0.1:{store.port} speaks TLS, and EVENTSTORE_URI says tls=false: take that out"
        )

    def test_that_only_we_speak(
        self, store: GuardedStore, event_store: RunningEventStore, scheme: str
    ) -> None:
        uri = store.uri().replace(f":{store.port}", f":{event_store.port}")
        assert said_of(uri.replace("esdb", scheme, 1)) == (
            f"127.0.0.1:{event_store.port} speaks no TLS, and EVENTSTORE_URI wants it: give the "
            "node a certificate, or add tls=false"
        )

    def test_with_a_file_of_authorities_that_is_none(
        self, store: GuardedStore, tmp_path: Path, scheme: str
    ) -> None:
        (tmp_path / "none.crt").write_text("no certificate")
        uri = store.uri(ca_file=tmp_path / "none.crt").replace("esdb", scheme, 1)
        assert said_of(uri) == (
            f"tlsCaFile={tmp_path}/none.crt in EVENTSTORE_URI has no certificate in PEM"
        )

    def test_with_files_that_are_not_there(
        self, store: GuardedStore, tmp_path: Path, scheme: str
    ) -> None:
        uri = store.uri(ca_file=tmp_path / "gone.crt").replace("esdb", scheme, 1)
        assert said_of(uri) == (
            f"tlsCaFile={tmp_path}/gone.crt in EVENTSTORE_URI cannot be read "
            "(No such file or directory)"
        )
        uri = f"{store.uri()}&userKeyFile={tmp_path}/gone.key".replace("esdb", scheme, 1)
        assert said_of(uri) == (
            f"userKeyFile={tmp_path}/gone.key in EVENTSTORE_URI cannot be read "
            "(No such file or directory)"
        )


class TestNothing:
    """Who does not answer refuses nothing."""

    @single_and_cluster
    @pytest.mark.parametrize("tls", [True, False], ids=["with TLS", "without"])
    def test_is_refused_by_who_is_away(
        self, event_store: RunningEventStore, tmp_path: Path, scheme: str, tls: bool
    ) -> None:
        with running_guarded_store(event_store, tmp_path) as store:
            uri = store.uri(tls=tls).replace("esdb", scheme, 1)
        assert said_of(uri) is None

    @single_and_cluster
    @pytest.mark.parametrize("tls", [True, False], ids=["with TLS", "without"])
    def test_is_refused_by_who_hangs(self, store: GuardedStore, scheme: str, tls: bool) -> None:
        with listening_and_silent() as port:
            uri = store.uri(tls=tls).replace(f":{store.port}", f":{port}")
            assert said_of(uri.replace("esdb", scheme, 1)) is None

    def test_is_refused_by_what_is_not_there(self, store: GuardedStore) -> None:
        words = said_of(store.uri(), lambda client: client.get_stream("none", timeout=PATIENCE))
        assert words is None


def test_a_file_of_authorities_that_was_corrected_is_read_again(
    store: GuardedStore, tmp_path: Path
) -> None:
    file = tmp_path / "own.crt"
    file.write_text(new_authority(datetime.now(UTC)).certificate)
    with SharedClient(store.uri("admin", ca_file=file)) as client:
        with pytest.raises(EventStoreDBClientException):
            client.get_commit_position(filter_exclude=(), timeout=SHORT)
        file.write_text(authority().certificate)
        client.get_commit_position(filter_exclude=(), timeout=PATIENCE)


def test_the_words_are_those_of_the_cause(store: GuardedStore) -> None:
    with pytest.raises(EventStoreDBClientException) as caught, SharedClient(store.uri()) as client:
        client.get_commit_position(timeout=PATIENCE)
    error = RuntimeError()
    error.__cause__ = caught.value
    assert in_words(error, ConnectionSpec(store.uri())) == f"lepret may not read $all {SEE}"
