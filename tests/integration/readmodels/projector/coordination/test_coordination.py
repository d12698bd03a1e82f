"""Projectors that share out projections between them, on a real PostgreSQL."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import OperationalError, connections
from psycopg.conninfo import make_conninfo

from lepret.common.backoff import Backoff
from lepret.environment import database_settings
from readmodels.projector.coordination.advisory_locks import (
    ASSIGNMENT,
    ONLY_ONE,
    key_of,
    only_one,
)
from readmodels.projector.coordination.coordinator import (
    LockCoordinator,
    NoCoordinator,
    coordinator,
)
from readmodels.projector.tuning import Tuning
from tests.support.processes import PATIENCE, PROJECT, wait_until
from tests.support.read_models import ReadModelsDatabase

pytestmark = [pytest.mark.usefixtures("read_models"), pytest.mark.flaky(reruns=0)]


NAMES = ("loan_requests", "loan_status", "underwriters_queue")
STATUS = "loan_status"

# A busy machine may keep a process waiting for longer than the usual lease.
PATIENT = Tuning(lease_seconds=5.0)

on_postgresql = pytest.mark.parametrize("read_models", ["postgresql"], indirect=True)
on_sqlite = pytest.mark.parametrize("read_models", ["sqlite"], indirect=True)


class Projecting:
    """A projector whose followers apply nothing, and stop at once when they are told to."""

    def __init__(self, names: Sequence[str], *, stop: threading.Event | None = None) -> None:
        self.coordinator = LockCoordinator(names, stop=stop, tuning=PATIENT)
        self._names = names
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._follow, args=(each,)) for each in names]

    def __enter__(self) -> Projecting:
        self.coordinator.__enter__()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join(PATIENCE)
        self.coordinator.__exit__()

    def runs(self) -> set[str]:
        return {name for name in self._names if self.coordinator.is_assigned(name)}

    def _follow(self, name: str) -> None:
        while not self._is_over.is_set():
            if not self.coordinator.wait_until_assigned(name, 0.1):
                continue
            while self.coordinator.is_assigned(name) and not self._is_over.wait(0.01):
                pass
            self.coordinator.stopped(name)


def spread(*projecting: Projecting) -> list[int]:
    """How many projections each runs, the most first."""
    running = [name for each in projecting for name in each.runs()]
    assert len(running) == len(set(running)), "a projection runs twice"
    return sorted((len(each.runs()) for each in projecting), reverse=True)


@pytest.fixture
def database(read_models: ReadModelsDatabase) -> Iterator[psycopg.Connection[Any]]:
    """A connection to the server of the read models, but to another database."""
    everywhere = make_conninfo(read_models.url, dbname="postgres")
    with psycopg.connect(everywhere, autocommit=True) as connection:
        yield connection


def sessions(
    database: psycopg.Connection[Any], kind: int, name: str, read_models: ReadModelsDatabase
) -> list[int]:
    """The process ids of the sessions that hold a lock."""
    rows = database.execute(
        "SELECT pid FROM pg_locks JOIN pg_database d ON d.oid = database"
        " WHERE locktype = 'advisory' AND classid = %s AND objid = %s AND datname = %s",
        [kind, key_of(name), connections[read_models.alias].settings_dict["NAME"]],
    )
    return [pid for (pid,) in rows]


@contextmanager
def holding(read_models: ReadModelsDatabase, name: str) -> Iterator[Holder]:
    """A projector in a process of its own, once the projection is assigned to it."""
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "lepret.settings",
        "READMODELS_DATABASE_URL": read_models.url,
    }
    with tempfile.TemporaryDirectory() as directory:
        output = Path(directory) / "output"
        with output.open("wb") as stdout:
            process = subprocess.Popen(
                [sys.executable, "-c", HOLDER, name, str(PATIENT.lease_seconds)],
                cwd=PROJECT,
                env=environment,
                stdout=stdout,
            )
        holder = Holder(process, output)
        try:
            wait_until(holder.says_assigned, what="the projection is assigned")
            yield holder
        finally:
            process.kill()
            process.wait(PATIENCE)


HOLDER = """
import sys, time, django
django.setup()
from readmodels.projector.coordination.coordinator import coordinator
from readmodels.projector.tuning import Tuning

name, was_assigned = sys.argv[1], False
tuning = Tuning(lease_seconds=float(sys.argv[2]))
with coordinator([name], tuning=tuning) as it:
    while True:
        if it.is_assigned(name) is not was_assigned:
            was_assigned = not was_assigned
            print("assigned" if was_assigned else "not assigned", flush=True)
        time.sleep(0.01)
"""


class Holder:
    def __init__(self, process: subprocess.Popen[bytes], output: Path) -> None:
        self._process = process
        self._output = output

    def says_assigned(self) -> bool:
        return self._last_line() == "assigned"

    def says_not_assigned(self) -> bool:
        return self._last_line() == "not assigned"

    def send(self, signal_number: int) -> None:
        self._process.send_signal(signal_number)

    def _last_line(self) -> str:
        return (self._output.read_text().splitlines() or [""])[-1]


@on_postgresql
class TestProjectors:
    def test_one_alone_runs_everything(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level("INFO")
        with Projecting(NAMES) as only:
            wait_until(lambda: only.runs() == set(NAMES))
            wait_until(lambda: "underwriters_queue is run here" in caplog.messages)

    def test_two_share_the_projections_out(self) -> None:
        with Projecting(NAMES) as first:
            wait_until(lambda: spread(first) == [3])
            with Projecting(NAMES) as second:
                wait_until(lambda: spread(first, second) == [2, 1])
            wait_until(lambda: spread(first) == [3])

    def test_three_run_one_each(self) -> None:
        with Projecting(NAMES) as first, Projecting(NAMES) as second, Projecting(NAMES) as third:
            wait_until(lambda: spread(first, second, third) == [1, 1, 1])

    def test_of_which_one_runs_only_some_projections(self) -> None:
        with Projecting([STATUS]) as some, Projecting(NAMES) as all_:
            wait_until(lambda: spread(some, all_) == [2, 1])
            assert some.runs() == {STATUS}

    def test_that_are_too_many_stand_by(self) -> None:
        with ExitStack() as stack:
            five = [stack.enter_context(Projecting(NAMES)) for _ in range(5)]
            wait_until(lambda: spread(*five) == [1, 1, 1, 0, 0])

    def test_on_another_database_of_the_server_do_not_count(
        self, postgresql: Any, read_models: ReadModelsDatabase, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with Projecting(NAMES) as here:
            wait_until(lambda: spread(here) == [3])
            elsewhere = postgresql.new_database().partition("?")[0].rpartition("/")[2]
            monkeypatch.setitem(connections[read_models.alias].settings_dict, "NAME", elsewhere)
            with Projecting(NAMES) as there:
                wait_until(lambda: spread(there) == [3])
                assert spread(here) == [3]

    def test_have_session_names_for_operators(
        self, read_models: ReadModelsDatabase, database: psycopg.Connection[Any]
    ) -> None:
        with Projecting(NAMES) as only:
            wait_until(lambda: only.runs() == set(NAMES))
            (pid,) = sessions(database, ASSIGNMENT, STATUS, read_models)
            row = database.execute(
                "SELECT application_name FROM pg_stat_activity WHERE pid = %s", [pid]
            ).fetchone()
        assert row == (f"lepret projector {os.getpid()}@{socket.gethostname()}",)


@on_postgresql
class TestAProjectionThatIsLeftToOthers:
    def test_is_taken_over_and_stays_there(self) -> None:
        with Projecting(NAMES) as older:
            wait_until(lambda: spread(older) == [3])
            assert older.coordinator.leave_to_others(STATUS)
            wait_until(lambda: older.runs() == set(NAMES) - {STATUS})
            assert not older.coordinator.others_can(STATUS)
            with Projecting([STATUS]) as newer:
                wait_until(lambda: newer.runs() == {STATUS})
                wait_until(lambda: older.coordinator.others_can(STATUS))
            wait_until(lambda: not older.coordinator.others_can(STATUS))
            assert older.runs() == set(NAMES) - {STATUS}

    def test_is_run_here_again_after_taking_part(self) -> None:
        with Projecting(NAMES) as only:
            wait_until(lambda: spread(only) == [3])
            only.coordinator.leave_to_others(STATUS)
            wait_until(lambda: STATUS not in only.runs())
            only.coordinator.take_part(STATUS)
            wait_until(lambda: spread(only) == [3])

    def test_is_still_left_when_the_database_was_away(
        self, database: psycopg.Connection[Any], read_models: ReadModelsDatabase
    ) -> None:
        with Projecting(NAMES) as only:
            wait_until(lambda: spread(only) == [3])
            only.coordinator.leave_to_others(STATUS)
            wait_until(lambda: STATUS not in only.runs())
            (pid,) = sessions(database, ASSIGNMENT, NAMES[0], read_models)
            database.execute("SELECT pg_terminate_backend(%s)", [pid])
            wait_until(lambda: pid not in sessions(database, ASSIGNMENT, NAMES[0], read_models))
            wait_until(lambda: only.runs() == set(NAMES) - {STATUS})


@on_postgresql
class TestAStandbyTakesOver:
    def test_when_the_holder_is_killed(self, read_models: ReadModelsDatabase) -> None:
        with holding(read_models, STATUS) as holder, Projecting([STATUS]) as standby:
            assert_stands_by(standby)
            holder.send(signal.SIGKILL)
            wait_until(standby.runs)

    def test_when_the_holder_hangs_and_the_holder_notices_when_it_wakes_up(
        self, read_models: ReadModelsDatabase
    ) -> None:
        with holding(read_models, STATUS) as holder, Projecting([STATUS]) as standby:
            assert_stands_by(standby)
            holder.send(signal.SIGSTOP)
            wait_until(standby.runs)
            holder.send(signal.SIGCONT)
            wait_until(holder.says_not_assigned)
            assert standby.runs()

    def test_when_the_holders_session_is_ended(
        self, read_models: ReadModelsDatabase, database: psycopg.Connection[Any]
    ) -> None:
        with Projecting([STATUS]) as holder:
            wait_until(holder.runs)
            with Projecting([STATUS]) as standby:
                assert_stands_by(standby)
                (pid,) = sessions(database, ASSIGNMENT, STATUS, read_models)
                database.execute("SELECT pg_terminate_backend(%s)", [pid])
                wait_until(lambda: standby.runs() and not holder.runs())

    def test_when_the_holders_network_is_cut_without_a_word(
        self, read_models: ReadModelsDatabase, caplog: pytest.LogCaptureFixture
    ) -> None:
        with network(read_models) as cut, Projecting([STATUS]) as holder:
            wait_until(holder.runs)
            with directly(read_models), Projecting([STATUS]) as standby:
                assert_stands_by(standby)
                cut()
                wait_until(lambda: standby.runs() and not holder.runs())
                wait_until(lambda: "Lost the database's locks" in caplog.text)

    def test_when_the_holder_stops_cleanly(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level("INFO")
        with ExitStack() as stack:
            holder = stack.enter_context(Projecting([STATUS]))
            wait_until(holder.runs)
            with Projecting([STATUS]) as standby:
                assert_stands_by(standby)
                stack.close()
                assert not holder.runs()
                wait_until(standby.runs)
        assert "Lost" not in caplog.text


def assert_stands_by(standby: Projecting) -> None:
    """Wait until it has looked; it must not run what another runs."""
    wait_until(lambda: standby.coordinator.looked_at > 0, what="the standby has looked")
    assert not standby.runs()


def wait_for_a_look(coordinator: LockCoordinator) -> None:
    """Wait until it has acted after a look that began after this call."""
    called_at = time.monotonic()
    wait_until(lambda: coordinator.looked_at > called_at)


@contextmanager
def network(read_models: ReadModelsDatabase) -> Iterator[Callable[[], None]]:
    """A network between new sessions and the server; yields a function that cuts it.

    After that nothing passes through it, but no connection is closed.
    """
    parameters = connections[read_models.alias].get_connection_params()
    server = f"{parameters['host']}/.s.PGSQL.{parameters.get('port') or 5432}"
    with (
        tempfile.TemporaryDirectory() as directory,
        socket.socket(socket.AF_UNIX) as listener,
        pytest.MonkeyPatch.context() as monkeypatch,
        ExitStack() as sockets,
    ):
        listener.bind(f"{directory}/.s.PGSQL.{parameters.get('port') or 5432}")
        listener.listen()
        is_cut = threading.Event()
        thread = threading.Thread(target=_forward_one, args=(listener, server, is_cut, sockets))
        thread.start()
        monkeypatch.setitem(connections[read_models.alias].settings_dict, "HOST", directory)
        try:
            yield is_cut.set
        finally:
            is_cut.set()
            thread.join(PATIENCE)


@contextmanager
def directly(read_models: ReadModelsDatabase) -> Iterator[None]:
    """New sessions bypass `network` while the block runs."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        host = database_settings(read_models.url)["HOST"]
        monkeypatch.setitem(connections[read_models.alias].settings_dict, "HOST", host)
        yield


def _forward_one(
    listener: socket.socket, server: str, is_cut: threading.Event, sockets: ExitStack
) -> None:
    # `sockets` closes both later: until then neither side learns that the other is gone.
    client, upstream = listener.accept()[0], socket.socket(socket.AF_UNIX)
    sockets.enter_context(client)
    sockets.enter_context(upstream)
    upstream.connect(server)
    other_end = {client: upstream, upstream: client}
    while not is_cut.is_set():
        for source in select.select(list(other_end), [], [], 0.05)[0]:
            other_end[source].sendall(source.recv(65536))


@on_postgresql
class TestAProjectionThatIsReleased:
    def test_is_kept_from_others_until_its_follower_has_stopped(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("INFO")
        with LockCoordinator(NAMES) as giver:
            wait_until(lambda: not not_assigned_to(giver))
            with Projecting(NAMES) as taker:
                (released,) = wait_until(lambda: not_assigned_to(giver))
                wait_for_a_look(taker.coordinator)
                assert not taker.runs()

                giver.stopped(released)

                wait_until(lambda: taker.runs() == {released})
                assert not_assigned_to(giver) == [released]
        assert f"{released} is left to another projector" in caplog.messages

    def test_is_left_to_others_after_a_time_even_if_its_follower_has_not_stopped(self) -> None:
        with LockCoordinator(NAMES, tuning=Tuning(release_seconds=0.2)) as giver:
            wait_until(lambda: not not_assigned_to(giver))
            with Projecting(NAMES) as taker:
                wait_until(lambda: len(taker.runs()) == 1)

    def test_is_kept_if_its_follower_stops_though_no_release_was_planned(self) -> None:
        with LockCoordinator([STATUS]) as only:
            assert only.wait_until_assigned(STATUS, PATIENCE)
            only.stopped(STATUS)
            only.stopped("nothing of ours")
            wait_for_a_look(only)
            assert only.is_assigned(STATUS)


def not_assigned_to(giver: LockCoordinator) -> list[str]:
    return [name for name in NAMES if not giver.is_assigned(name)]


@dataclass(frozen=True)
class CountingRetries(Tuning):
    """Tries again soon, and counts how often."""

    first_retry_seconds: float = 0.01
    delays: list[float] = field(default_factory=list)

    def backoff(self) -> Backoff:
        counting = self.delays

        class Counting(Backoff):
            def next_delay(self) -> float:
                counting.append(super().next_delay())
                return counting[-1]

        return Counting(first=self.first_retry_seconds)


@on_postgresql
class TestASessionThatIsLost:
    def test_is_regained_and_logged_once(
        self,
        read_models: ReadModelsDatabase,
        database: psycopg.Connection[Any],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        caplog.set_level("INFO")
        tuning = CountingRetries()
        with LockCoordinator([STATUS], tuning=tuning) as only:
            assert only.wait_until_assigned(STATUS, PATIENCE)
            (pid,) = sessions(database, ASSIGNMENT, STATUS, read_models)
            name = connections[read_models.alias].settings_dict["NAME"]
            database.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
            database.execute("SELECT pg_terminate_backend(%s)", [pid])
            wait_until(lambda: not only.is_assigned(STATUS))
            wait_until(lambda: len(tuning.delays) > 3, what="attempts are refused")
            database.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
            assert only.wait_until_assigned(STATUS, PATIENCE)
        told = [line for line in caplog.messages if "locks" in line]
        assert told[0].startswith("Lost the database's locks (")
        assert told[1:] == ["Regained the database's locks"]
        assert caplog.messages.count(f"{STATUS} is run here") == 2

    def test_holds_nobody_up_who_waits_or_leaves(
        self, read_models: ReadModelsDatabase, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        nobody = connections[read_models.alias].settings_dict
        monkeypatch.setitem(nobody, "HOST", tempfile.gettempdir() + "/nobody-is-here")
        with LockCoordinator([STATUS]) as only:
            assert not only.wait_until_assigned(STATUS, 0.1)
            assert not only.is_assigned(STATUS)
        assert "coordinator" not in {each.name for each in threading.enumerate()}


@on_postgresql
class TestAProjectorThatIsToldToStop:
    def test_wakes_its_followers_and_takes_nothing_more(self) -> None:
        stop = threading.Event()
        with ExitStack() as outlasting_the_holder:
            with Projecting([STATUS]) as holder:
                wait_until(holder.runs)
                stopping = outlasting_the_holder.enter_context(LockCoordinator([STATUS], stop=stop))
                threading.Timer(0.1, stop.set).start()
                began_at = time.monotonic()
                assert not stopping.wait_until_assigned(STATUS, PATIENCE)
                assert time.monotonic() - began_at < PATIENCE
                wait_for_a_look(stopping)
            with Projecting([STATUS]) as other:
                wait_until(other.runs)
                assert not stopping.is_assigned(STATUS)

    def test_keeps_what_it_runs_until_it_has_stopped(self) -> None:
        stop = threading.Event()
        with LockCoordinator([STATUS], stop=stop) as stopping:
            assert stopping.wait_until_assigned(STATUS, PATIENCE)
            stop.set()
            with Projecting([STATUS]) as standby:
                assert_stands_by(standby)
                wait_for_a_look(stopping)
                assert stopping.is_assigned(STATUS)


class TestTheCoordinator:
    @on_sqlite
    def test_assigns_everything_on_sqlite(self, read_models: ReadModelsDatabase) -> None:
        with coordinator(NAMES) as first, coordinator(NAMES) as second:
            assert isinstance(first, NoCoordinator)
            for each in (first, second):
                assert each.is_assigned(STATUS)
                assert each.wait_until_assigned(STATUS, 60)
                each.stopped(STATUS)
                assert each.is_assigned(STATUS)

    @on_postgresql
    def test_uses_locks_on_postgresql(self, read_models: ReadModelsDatabase) -> None:
        assert isinstance(coordinator(NAMES), LockCoordinator)


class TestOnlyOne:
    @on_postgresql
    def test_has_the_lock_of_a_name(self, read_models: ReadModelsDatabase) -> None:
        with (
            only_one("rebuild loan_status") as first,
            only_one("rebuild loan_status") as second,
            only_one("rebuild other") as other,
        ):
            assert (first, second, other) == (True, False, True)
        assert_free_again("rebuild loan_status")

    @on_postgresql
    def test_lets_go_when_the_job_fails(self, read_models: ReadModelsDatabase) -> None:
        with pytest.raises(psycopg.DataError), only_one("rebuild"):
            raise psycopg.DataError
        assert_free_again("rebuild")

    @on_postgresql
    def test_lets_go_when_its_session_ends(
        self, read_models: ReadModelsDatabase, database: psycopg.Connection[Any]
    ) -> None:
        with only_one("rebuild"):
            (pid,) = sessions(database, ONLY_ONE, "rebuild", read_models)
            database.execute("SELECT pg_terminate_backend(%s)", [pid])
            assert_free_again("rebuild")

    @on_postgresql
    def test_keeps_the_lock_through_a_long_job_where_idle_sessions_are_ended(
        self, read_models: ReadModelsDatabase, database: psycopg.Connection[Any]
    ) -> None:
        name = connections[read_models.alias].settings_dict["NAME"]
        database.execute(f"ALTER DATABASE {name} SET idle_session_timeout = '300ms'")
        with only_one("rebuild"), psycopg.connect(read_models.url) as idle:
            pid = idle.info.backend_pid
            wait_until(
                lambda: (
                    not database.execute(
                        "SELECT 1 FROM pg_stat_activity WHERE pid = %s", [pid]
                    ).fetchall()
                ),
            )
            assert sessions(database, ONLY_ONE, "rebuild", read_models)

    @on_postgresql
    def test_says_in_djangos_words_that_the_database_is_away(
        self, read_models: ReadModelsDatabase, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings = connections[read_models.alias].settings_dict
        monkeypatch.setitem(settings, "HOST", tempfile.gettempdir() + "/nobody-is-here")
        with pytest.raises(OperationalError), only_one("rebuild"):
            pass

    @on_sqlite
    def test_lets_everyone_in_on_sqlite(self, read_models: ReadModelsDatabase) -> None:
        with only_one("rebuild") as first, only_one("rebuild") as second:
            assert (first, second) == (True, True)


def assert_free_again(what: str) -> None:
    def is_free() -> bool:
        with only_one(what) as is_had:
            return is_had

    # The server ends a session a moment after it was told to.
    wait_until(is_free)
