"""A start notices that acknowledged events are missing; backups and what verifies them."""

from __future__ import annotations

import re
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from esdbclient import EventStoreDBClient, NewEvent

from lepret.eventstore.__main__ import main
from lepret.eventstore.scavenge import main as main_of_scavenge
from lepret.eventstore.storage.datafile import prepare_data_file
from lepret.eventstore.storage.log import Log
from tests.integration.lepret.eventstore.events import append, new_events, new_stream
from tests.integration.lepret.eventstore.writers import writers
from tests.support.event_store import EmbeddedEventStore, running_embedded_event_store
from tests.support.processes import PATIENCE, wait_until

PROJECT = Path(__file__).parents[4]
COMMAND = (sys.executable, "-m", "lepret.eventstore", "--data")
LACKS = "lacks acknowledged events"

Command = Callable[..., str]

pytestmark = pytest.mark.flaky(reruns=0)


@pytest.fixture
def refusal(capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs the command, which must fail; returns the line that it prints."""

    def run(data: Path, *arguments: str | Path) -> str:
        assert main(["--data", str(data), "--port", "0", *map(str, arguments)]) == 1
        printed = capsys.readouterr()
        assert printed.out == ""
        (line,) = printed.err.splitlines()
        return line

    return run


@pytest.fixture
def done(capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs the command, which must succeed; returns the line that it prints."""

    def run(data: Path, *arguments: str | Path) -> str:
        assert main(["--data", str(data), *map(str, arguments)]) == 0
        (line,) = capsys.readouterr().out.splitlines()
        return line

    return run


def add(store: EmbeddedEventStore, number: int = 20) -> int:
    """Append so many events, one after the other; returns the last one's position."""
    with EventStoreDBClient(store.uri) as client:
        return [append(client, new_stream(), new_events(1)) for _ in range(number)][-1]


def beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def copied(store: EmbeddedEventStore, folder: Path, *suffixes: str) -> Path:
    """A copy of the store's files with these suffixes, in a new folder."""
    folder.mkdir()
    for suffix in suffixes:
        shutil.copy(beside(store.data, suffix), folder)
    return folder / store.data.name


def start(data: Path, *, expected: int) -> None:
    """Start a server, which must have events up to a position."""
    with (
        running_embedded_event_store(data.parent, name=data.name) as store,
        EventStoreDBClient(store.uri) as client,
    ):
        assert client.get_commit_position(filter_exclude=()) == expected


def _fill_the_disk() -> None:
    """Limit this process's files, which is told like a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (32_768, 32_768))


def _large_event() -> NewEvent:
    return NewEvent(type="Large", data=b"x" * 9_000)


class TestMissing:
    @pytest.mark.parametrize("suffixes", [("",), ("", ".head"), ("", ".lock", "-shm")])
    def test_a_copy_without_its_log(
        self, store: EmbeddedEventStore, tmp_path: Path, suffixes: tuple[str], refusal: Command
    ) -> None:
        add(store)
        copy = copied(store, tmp_path / "copy", *suffixes)
        content = copy.read_bytes()
        for arguments in ((), ("--verify",), ("--backup", tmp_path / "backup")):
            line = refusal(copy, *arguments)
            assert LACKS in line
            assert "events.sqlite3-wal" in line
            assert "--accept-loss" in line
        assert copy.read_bytes() == content
        assert not (tmp_path / "backup").exists()

    def test_the_log_was_removed_after_a_crash(
        self, store: EmbeddedEventStore, refusal: Command
    ) -> None:
        last = add(store)
        store.kill()
        beside(store.data, "-wal").unlink()
        assert f"they at {last}" in refusal(store.data)

    def test_the_log_was_cut_short(self, store: EmbeddedEventStore, refusal: Command) -> None:
        add(store)
        store.kill()
        log = beside(store.data, "-wal")
        log.write_bytes(log.read_bytes()[: log.stat().st_size // 2])
        assert LACKS in refusal(store.data)

    def test_the_file_itself_is_gone(self, store: EmbeddedEventStore, refusal: Command) -> None:
        add(store)
        store.stop()
        store.data.unlink()
        assert "itself is gone" in refusal(store.data)
        assert not store.data.exists()

    def test_an_older_backup_is_in_the_files_place(
        self, store: EmbeddedEventStore, tmp_path: Path, refusal: Command, done: Command
    ) -> None:
        backup = tmp_path / "backup.sqlite"
        older = add(store)
        done(store.data, "--backup", backup)
        newer = add(store)
        store.stop()
        shutil.copy(backup, store.data)
        assert f"ends at position {older}, they at {newer}" in refusal(store.data)
        store.accept_loss = True
        store.restart()
        store.accept_loss = False
        assert add(store, 1) == older + 1
        store.crash()
        assert add(store, 1) == older + 2

    @pytest.mark.parametrize("with_head", [True, False])
    def test_a_backup_beside_the_log_of_a_later_crash(
        self,
        store: EmbeddedEventStore,
        tmp_path: Path,
        with_head: bool,
        refusal: Command,
        done: Command,
    ) -> None:
        older = add(store)
        done(store.data, "--backup", tmp_path / "backup.sqlite")
        add(store)
        store.kill()
        shutil.copy(tmp_path / "backup.sqlite", store.data)
        if not with_head:
            beside(store.data, ".head").unlink()
        log = beside(store.data, "-wal").read_bytes()
        assert LACKS in refusal(store.data)
        assert beside(store.data, "-wal").read_bytes() == log
        with running_embedded_event_store(store.folder, accept_loss=True) as restored:
            assert add(restored, 1) == older + 1
        # What it was is kept.
        assert beside(store.data, "-wal.unused").read_bytes() == log

    def test_a_log_of_another_generation(
        self, store: EmbeddedEventStore, tmp_path: Path, refusal: Command
    ) -> None:
        add(store)
        copy = copied(store, tmp_path / "copy", "")
        store.restart()  # Its log begins anew.
        with EventStoreDBClient(store.uri) as client:
            for _ in range(50):
                append(client, new_stream(), new_events(20))
        store.restart()
        add(store)
        shutil.copy(beside(store.data, "-wal"), copy.parent)
        line = refusal(copy)
        assert "corrupt" in line or LACKS in line


class TestNothingIsMissing:
    def test_a_copy_with_its_log(self, store: EmbeddedEventStore, tmp_path: Path) -> None:
        last = add(store)
        start(copied(store, tmp_path / "copy", "", "-wal"), expected=last)

    def test_a_copy_of_a_file_that_is_not_in_use(
        self, store: EmbeddedEventStore, tmp_path: Path
    ) -> None:
        last = add(store)
        store.stop()
        start(copied(store, tmp_path / "copy", ""), expected=last)

    def test_after_kills_at_any_moment_of_a_stop(self, store: EmbeddedEventStore) -> None:
        for milliseconds in range(0, 20, 2):
            last = add(store, 1)
            store.process.terminate()
            time.sleep(milliseconds / 1000)
            store.crash()
        store.restart()
        with EventStoreDBClient(store.uri) as client:
            assert client.get_commit_position(filter_exclude=()) == last

    @pytest.mark.parametrize("is_read_meanwhile", [True, False])
    def test_a_file_that_was_just_made_or_opened_and_not_written_to(
        self, tmp_path: Path, is_read_meanwhile: bool
    ) -> None:
        """What a process leaves that was killed right after each step of its start."""
        data = tmp_path / "events.sqlite3"
        prepare_data_file(data)
        prepare_data_file(data)
        log = Log(data)
        head = log.head
        shutil.copytree(tmp_path, tmp_path / "killed")
        with closing(sqlite3.connect(data)) as reader:
            if is_read_meanwhile:
                reader.execute("BEGIN")
                reader.execute("SELECT count(*) FROM events").fetchone()
            log.close()
        shutil.copytree(tmp_path, tmp_path / "stopped", ignore=lambda *_: ["killed"])
        # Its header says that there is a log, which is not made yet.
        early = tmp_path / "killed"
        with closing(sqlite3.connect(early / data.name)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        beside(early / data.name, "-wal").unlink(missing_ok=True)
        start(early / data.name, expected=head)
        start(tmp_path / "stopped" / data.name, expected=head)

    def test_a_file_of_an_older_version(self, store: EmbeddedEventStore) -> None:
        last = add(store)
        store.stop()
        with closing(sqlite3.connect(store.data)) as connection:
            connection.executescript("DROP TABLE scavenged; PRAGMA user_version = 1")
            connection.execute("PRAGMA journal_mode = WAL")
        beside(store.data, ".head").unlink()
        start(store.data, expected=last)
        with closing(sqlite3.connect(store.data)) as connection:
            assert connection.execute("SELECT events FROM scavenged").fetchall() == [(0,)]

    def test_a_position_that_cannot_be_read(self, store: EmbeddedEventStore) -> None:
        last = add(store)
        store.kill()
        beside(store.data, ".head").write_bytes(b"\0" * 21)
        start(store.data, expected=last)


class TestBackup:
    def test_holds_what_was_acknowledged_before_while_the_server_writes(
        self, store: EmbeddedEventStore, tmp_path: Path, done: Command
    ) -> None:
        backup = tmp_path / "backup.sqlite"
        with writers(store.port, 4) as writing:
            writing.wait_for(100)
            before = add(store, 1)
            line = done(store.data, "--backup", backup)
            writing.wait_for(20)
        last = int(re.search(r"at position (\d+)", line)[1])  # type: ignore[index]
        assert last >= before
        assert backup.stat().st_mode & 0o777 == 0o600
        assert sorted(tmp_path.glob("backup*")) == [backup]
        assert f"verified {last} events" in done(backup, "--verify").replace(",", "")
        start(backup, expected=last)

    def test_replaces_a_backup_only_if_it_is_told(
        self, store: EmbeddedEventStore, tmp_path: Path, refusal: Command, done: Command
    ) -> None:
        backup = tmp_path / "backup.sqlite"
        backup.write_bytes(b"older")
        assert "--overwrite" in refusal(store.data, "--backup", backup)
        assert backup.read_bytes() == b"older"
        done(store.data, "--backup", backup, "--overwrite")
        assert "verified" in done(backup, "--verify")

    @pytest.mark.parametrize("suffix", ["", "-wal", ".head", "link"])
    def test_never_onto_the_file_itself(
        self, store: EmbeddedEventStore, suffix: str, refusal: Command
    ) -> None:
        target = beside(store.data, suffix)
        if suffix == "link":
            target.hardlink_to(store.data)
        assert "is the data file" in refusal(store.data, "--backup", target, "--overwrite")
        add(store, 1)

    def test_a_folder_that_is_not_there(
        self, store: EmbeddedEventStore, tmp_path: Path, refusal: Command
    ) -> None:
        target = tmp_path / "absent" / "backup.sqlite"
        assert "cannot be written: No such file" in refusal(store.data, "--backup", target)

    def test_a_disk_that_is_full(self, store: EmbeddedEventStore, tmp_path: Path) -> None:
        add(store, 200)
        target = tmp_path / "backup.sqlite"
        ended = subprocess.run(
            [*COMMAND, store.data, "--backup", target],
            cwd=PROJECT,
            preexec_fn=_fill_the_disk,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        assert ended.returncode == 1
        (line,) = ended.stderr.splitlines()
        assert "cannot be written" in line
        assert list(tmp_path.glob("backup*")) == []
        add(store, 1)

    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
    def test_ended_meanwhile(
        self, store: EmbeddedEventStore, tmp_path: Path, number: signal.Signals, done: Command
    ) -> None:
        with EventStoreDBClient(store.uri) as client:
            for _ in range(20):
                append(client, new_stream(), [_large_event() for _ in range(100)])
        target, draft = tmp_path / "backup.sqlite", tmp_path / "backup.sqlite.partial"
        with subprocess.Popen([*COMMAND, store.data, "--backup", target], cwd=PROJECT) as backup:
            wait_until(lambda: draft.exists() and draft.stat().st_size > 0, every=0.001)
            backup.send_signal(number)
        assert not target.exists()
        assert draft.exists() == (number == signal.SIGKILL)
        add(store, 1)
        done(store.data, "--backup", target)
        assert sorted(tmp_path.glob("backup*")) == [target]

    def test_of_a_file_that_no_server_uses(
        self, store: EmbeddedEventStore, tmp_path: Path, done: Command
    ) -> None:
        last = add(store)
        store.kill()
        done(store.data, "--backup", tmp_path / "backup.sqlite")
        start(tmp_path / "backup.sqlite", expected=last)


class TestVerify:
    @pytest.mark.parametrize(
        ("damage", "words"),
        [
            ("DELETE FROM events WHERE position = 7", "1 positions have no event"),
            ("UPDATE events SET revision = 5 WHERE position = 7", "revisions are missing"),
            ("UPDATE events SET type = 'Other' WHERE position = 7", "event at position 7"),
            ("UPDATE events SET frame = x'00' WHERE position = 7", "event at position 7"),
        ],
    )
    def test_finds_damage(
        self, store: EmbeddedEventStore, damage: str, words: str, refusal: Command
    ) -> None:
        add(store)
        store.stop()
        with closing(sqlite3.connect(store.data)) as connection:
            connection.executescript(damage)
        assert words in refusal(store.data, "--verify")

    def test_a_scavenged_file_is_whole(
        self, store: EmbeddedEventStore, done: Command, capsys: pytest.CaptureFixture[str]
    ) -> None:
        stream = new_stream()
        with EventStoreDBClient(store.uri) as client:
            append(client, stream, new_events(9))
            client.set_stream_metadata(stream, metadata={"$maxCount": 2})
            append(client, gone := new_stream(), new_events(3))
            client.tombstone_stream(gone, current_version=2)
        store.stop()
        assert main_of_scavenge(["--data", str(store.data)]) == 0
        assert "removed 10 events" in capsys.readouterr().out
        assert "verified" in done(store.data, "--verify")

    def test_no_file(self, tmp_path: Path, refusal: Command) -> None:
        assert "does not exist" in refusal(tmp_path / "events.sqlite", "--verify")
        assert list(tmp_path.iterdir()) == []
