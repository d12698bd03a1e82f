"""How the embedded event store starts and stops, and when it refuses to start."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from esdbclient import EventStoreDBClient, NewEvent
from esdbclient.exceptions import ServiceUnavailable
from esdbclient.protos.Grpc.streams_pb2 import BatchAppendResp
from esdbclient.protos.Grpc.streams_pb2_grpc import StreamsStub

from lepret.eventstore.__main__ import main
from lepret.eventstore.scavenge import main as main_of_scavenge
from tests.integration.lepret.eventstore.batches import Batch, new_batch
from tests.integration.lepret.eventstore.conftest import Connect
from tests.integration.lepret.eventstore.events import append, new_events, new_stream
from tests.integration.lepret.eventstore.writers import writers
from tests.support.event_store import EmbeddedEventStore
from tests.support.processes import PATIENCE, PROJECT, resident_bytes


class TestStopped:
    def test_with_everything_running(self, store: EmbeddedEventStore) -> None:
        with EventStoreDBClient(store.uri) as client:
            all_ = client.subscribe_to_all(from_end=True)
            stream = client.subscribe_to_stream(new_stream())
            with writers(store.port, 2) as writing:
                writing.wait_for(20)
                store.stop()
                assert store.process.exitcode == 0
                for subscription in (all_, stream):
                    with pytest.raises(ServiceUnavailable):
                        list(subscription)
                store.restart()
        with EventStoreDBClient(store.uri) as client:
            writing.assert_the_log_holds_what_was_acknowledged(client)

    def test_every_append_that_was_written_is_answered(self, store: EmbeddedEventStore) -> None:
        """Stop during a call with hundreds of appends: exactly the answered ones are in the log."""
        answers: list[BatchAppendResp] = []
        enough = threading.Event()
        stopped = threading.Event()

        def batches() -> Iterator[Batch]:
            while not stopped.is_set():
                yield new_batch("Test:answered", 1)

        def receive(streams: StreamsStub) -> None:
            for answer in streams.BatchAppend(batches(), timeout=PATIENCE):
                answers.append(answer)
                if len(answers) > 200:
                    enough.set()

        def stop() -> None:
            enough.wait(PATIENCE)
            store.stop()
            stopped.set()

        with (
            grpc.insecure_channel(f"127.0.0.1:{store.port}") as channel,
            ThreadPoolExecutor(1) as threads,
        ):
            streams = StreamsStub(channel)  # type: ignore[no-untyped-call]
            stopping = threads.submit(stop)
            with pytest.raises(grpc.RpcError):
                receive(streams)
            stopping.result(PATIENCE)
        store.restart()
        with EventStoreDBClient(store.uri) as client:
            written = len(client.get_stream("Test:answered"))
        assert written == len([a for a in answers if a.WhichOneof("result") == "success"])

    def test_although_a_client_does_not_read(self, store: EmbeddedEventStore) -> None:
        with EventStoreDBClient(store.uri) as client:
            events = [NewEvent(type="Tested", data=b"x" * 1000_000) for _ in range(20)]
            for event in events:
                append(client, new_stream(), [event])
            subscription = client.subscribe_to_all()
            next(subscription)
            store.stop()

    def test_leaves_all_in_the_one_file(self, store: EmbeddedEventStore) -> None:
        with EventStoreDBClient(store.uri) as client:
            append(client, new_stream(), new_events(3))
        store.stop()
        assert not store.data.with_name(store.data.name + "-wal").exists()
        connection = sqlite3.connect(store.data)
        assert connection.execute("SELECT count(*) FROM events").fetchone() == (4,)
        connection.close()

    def test_a_restart_keeps_events_and_port(
        self, store: EmbeddedEventStore, connect: Connect
    ) -> None:
        stream = new_stream()
        client = connect(store.uri)
        append(client, stream, new_events(2))
        port = store.port
        store.restart()
        assert store.port == port
        assert len(connect(store.uri).get_stream(stream)) == 2
        append(client, stream, new_events(1))  # The old client connects again by itself.


Start = Callable[..., str]


class TestRefused:
    """The server prints one line on stderr and ends with exit status 1."""

    @pytest.fixture
    def refusal(self, capsys: pytest.CaptureFixture[str]) -> Start:
        """Starts a server that must refuse to start; returns the line that it prints."""

        def start(data: Path, port: int = 0) -> str:
            assert main(["--data", str(data), "--port", str(port)]) == 1
            printed = capsys.readouterr()
            assert printed.out == ""
            (line,) = printed.err.splitlines()
            return line

        return start

    def test_by_the_command(self, tmp_path: Path) -> None:
        command = [sys.executable, "-m", "lepret.eventstore", "--data", str(tmp_path)]
        ended = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
        assert (ended.returncode, ended.stdout) == (1, "")
        assert ended.stderr == f"lepret.eventstore: {tmp_path} is not a file\n"

    def test_a_second_server_on_the_same_file(
        self, store: EmbeddedEventStore, refusal: Start
    ) -> None:
        assert "in use by another event store" in refusal(store.data)
        with EventStoreDBClient(store.uri) as client:
            append(client, new_stream(), new_events(1))

    def test_a_second_server_on_a_link_to_the_file(
        self, store: EmbeddedEventStore, tmp_path: Path, refusal: Start
    ) -> None:
        link = tmp_path / "link"
        link.symlink_to(store.data)
        assert "in use by another event store" in refusal(link)

    def test_a_port_that_is_taken_by_another_server(
        self, store: EmbeddedEventStore, tmp_path: Path, refusal: Start
    ) -> None:
        other = tmp_path / "other.sqlite"
        assert f"port {store.port} on 127.0.0.1 is taken" in refusal(other, store.port)
        assert not other.exists()

    def test_a_port_that_is_taken_by_anything_else(self, tmp_path: Path, refusal: Start) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            assert "is taken" in refusal(tmp_path / "events.sqlite", port)

    @pytest.mark.parametrize(
        "content", [b"Dear diary,\n" * 100, b"x", b"SQLite format 3\0", b"\0" * 5000]
    )
    def test_a_foreign_file(self, tmp_path: Path, content: bytes, refusal: Start) -> None:
        path = tmp_path / "diary.txt"
        path.write_bytes(content)
        assert "not an event store's data file" in refusal(path)
        assert path.read_bytes() == content
        assert list(tmp_path.iterdir()) == [path]

    def test_a_foreign_database(self, tmp_path: Path, refusal: Start) -> None:
        path = tmp_path / "other.sqlite"
        connection = sqlite3.connect(path)
        connection.execute("CREATE TABLE events (position INTEGER)")
        connection.commit()
        connection.close()
        content = path.read_bytes()
        assert "but not an event store's" in refusal(path)
        assert path.read_bytes() == content

    @pytest.mark.parametrize("damage", ["truncated", "overwritten"])
    def test_a_corrupt_file(self, store: EmbeddedEventStore, damage: str, refusal: Start) -> None:
        with EventStoreDBClient(store.uri) as client:
            for _ in range(5):
                append(client, new_stream(), new_events(200))
        store.stop()
        content = bytearray(store.data.read_bytes())
        if damage == "truncated":
            del content[len(content) // 2 :]
        else:
            content[4096:-4096] = b"\xa5" * (len(content) - 8192)
        store.data.write_bytes(content)
        assert "is corrupt" in refusal(store.data)
        assert store.data.read_bytes() == content

    def test_a_folder_that_is_not_there(self, tmp_path: Path, refusal: Start) -> None:
        assert "cannot be opened" in refusal(tmp_path / "absent" / "events.sqlite")


class TestPrivate:
    """Only the owner can read the events, whatever the umask."""

    @pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
    def test_the_files_while_it_runs_and_after(self, tmp_path: Path, umask: int) -> None:
        before = os.umask(umask)
        try:
            # By the command: the other tests' servers are forked, with the umask of then.
            command = [sys.executable, "-m", "lepret.eventstore", "--port", "0", "--data"]
            data = tmp_path / "events.sqlite"
            with subprocess.Popen([*command, data], cwd=PROJECT, stdout=subprocess.PIPE) as server:
                assert server.stdout is not None
                address = server.stdout.readline().split()[3].decode()
                with EventStoreDBClient(f"esdb://{address}?tls=false") as client:
                    append(client, new_stream(), new_events(1))
                running = _modes(tmp_path)
                server.terminate()
            assert main_of_scavenge(["--data", str(data)]) == 0
        finally:
            os.umask(before)
        assert set(running) >= {"events.sqlite", "events.sqlite-wal", "events.sqlite.lock"}
        assert set(running.values()) == set(_modes(tmp_path).values()) == {0o600}

    def test_the_files_of_an_older_version(self, store: EmbeddedEventStore) -> None:
        store.stop()
        for file in store.data.parent.iterdir():
            file.chmod(0o644)
        store.restart()
        assert set(_modes(store.data.parent).values()) == {0o600}


def _modes(folder: Path) -> dict[str, int]:
    return {file.name: file.stat().st_mode & 0o777 for file in folder.iterdir()}


class TestMemory:
    def test_stays_small_while_a_subscriber_sleeps(
        self, store: EmbeddedEventStore, connect: Connect
    ) -> None:
        """100 MB are appended while a subscriber does not read; few of them stay in memory."""
        client = connect(store.uri)
        with connect(store.uri).subscribe_to_all(from_end=True) as subscription:
            before = resident_bytes(store.pid)
            for _ in range(100):
                append(client, new_stream(), [NewEvent(type="Big", data=b"x" * 1_000_000)])
            assert resident_bytes(store.pid) - before < 60_000_000
            assert sum(1 for _, _ in zip(range(100), subscription, strict=False)) == 100
