"""`manage.py doctor` as typed: its lines, exit status and time, and that it tells no secret."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from lepret.doctor.report import SECONDS
from tests.support.event_store import RunningEventStore, running_event_store
from tests.support.fork_server import fork_server
from tests.support.postgresql import RunningPostgreSQL
from tests.support.processes import PATIENCE, PROJECT, free_port
from tests.support.valkey import RunningValkey

SECONDS_TO_START = 60.0
SERVICES = ["event_store", "database", "migrations", "valkey", "credit_bureau", "clock"]

Doctor = Callable[..., subprocess.CompletedProcess[str]]


def run(
    environment: Mapping[str, str], *arguments: str, program: tuple[str, ...] = ("manage.py",)
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *program, *arguments],
        cwd=PROJECT,
        env=dict(environment),
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE + SECONDS,
    )


@pytest.fixture
def environment(
    tmp_path: Path, shared_event_store: RunningEventStore, shared_valkey: RunningValkey
) -> dict[str, str]:
    """The variables of a system in which everything is fine, but for migrations."""
    return {
        **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
        "LEPRET_DATA_DIR": str(tmp_path),
        "DJANGO_SETTINGS_MODULE": "lepret.settings",
        "DJANGO_SECRET_KEY": "only-for-tests-" + "x" * 50,
        "EVENTSTORE_URI": shared_event_store.uri,
        "REDIS_URL": shared_valkey.url,
    }


def fine_by_name(output: str) -> dict[str, bool]:
    """Which services are fine, by the lines that the command has printed."""
    words = [line.split(maxsplit=2) for line in output.splitlines()]
    return {name: verdict == "fine:" for name, verdict, _ in words}


def test_all_is_fine_once_the_migrations_are_applied(
    environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "lepret.sqlite3").touch()
    with fork_server(environment, tmp_path) as commands:
        before = commands.run("doctor")
        assert commands.run("migrate", "--verbosity", "0").status == 0
        after = commands.run("doctor")
    all_fine = dict.fromkeys(SERVICES, True)
    assert (before.status, fine_by_name(before.output)) == (1, all_fine | {"migrations": False})
    assert (after.status, fine_by_name(after.output)) == (0, all_fine)


def test_it_ends_in_time_when_everything_hangs_or_is_gone(
    environment: dict[str, str], tmp_path: Path, postgresql: RunningPostgreSQL
) -> None:
    (tmp_path / "lepret.sqlite3").touch()
    hidden = "hid%2Fden%40"
    with running_event_store(tmp_path / "events") as store, store.frozen():
        wrong = {
            **environment,
            "EVENTSTORE_URI": store.uri.replace("//", f"//me:{hidden}@"),
            "DATABASE_URL": f"postgresql://me:{hidden}@127.0.0.1:{free_port()}/loans",
            "READMODELS_DATABASE_URL": postgresql.new_database(),
            "REDIS_URL": f"redis://me:{hidden}@host.invalid/0",
            "CREDIT_BUREAU_URL": f"http://me:{hidden}@127.0.0.1:{free_port()}",
        }
        began = time.monotonic()
        done = run(wrong, "doctor", "--json")
        assert time.monotonic() - began < SECONDS_TO_START, "they were not waited for one by one"
    assert done.returncode == 1
    found = {each["name"]: each["is_fine"] for each in json.loads(done.stdout)}
    assert found == dict.fromkeys(SERVICES, False) | {"readmodels_database": True}
    assert "hid" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_a_clock_that_is_off_is_told_by_how_much(
    environment: dict[str, str], postgresql: RunningPostgreSQL
) -> None:
    environment["DATABASE_URL"] = postgresql.new_database()
    a_day_ahead = ("-m", "tests.support.wrong_clock", "86400")
    done = run(environment, "doctor", "clock", program=a_day_ahead)
    assert done.returncode == 1, done.stderr
    # The event store tells the time to the second.
    by = r"1 day, 0:00:0\d ahead of"
    assert re.search(f"this machine's is {by} that of the event store", done.stdout)
    assert re.search(f"this machine's is {by} that of DATABASE_URL's database", done.stdout)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "mysql://me:hidden@db"),
        ("LEPRET_DATA_DIR", "/proc/no/such"),
    ],
)
def test_settings_that_do_not_load_are_one_line(
    environment: dict[str, str], name: str, value: str
) -> None:
    done = run({**environment, name: value}, "doctor")
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith(f"{name} must ")
    assert "hidden" not in line


def test_only_what_is_named_is_asked(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("doctor", "credit_bureau")
    assert fine_by_name(capsys.readouterr().out) == {"credit_bureau": True}


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(CommandError, match=r"^No service postgres\. "):
        call_command("doctor", "postgres", "valkey")
