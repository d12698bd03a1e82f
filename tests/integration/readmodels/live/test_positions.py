"""Waiting for a position: woken by the projector over a real Valkey, which may be away."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import pytest
from django.db import connections

from readmodels.live.broadcasts import Broadcaster
from readmodels.live.positions import Hints, has_reached
from readmodels.models import Checkpoint
from tests.support.processes import PATIENCE, PROJECT, wait_until
from tests.support.read_models import ReadModelsDatabase
from tests.support.valkey import RunningValkey

NAME = "loan_status"


@pytest.fixture
def hints() -> Iterator[Hints]:
    with closing(Hints()) as hints:
        yield hints


@pytest.fixture
def only_hints() -> Iterator[Hints]:
    """With these, no request checks the database without a hint for as long as a test takes."""
    with closing(Hints(first_pause=3600.0, longest_pause=3600.0)) as hints:
        yield hints


def reach(position: int) -> None:
    Checkpoint.objects.update_or_create(name=NAME, defaults={"position": position})


@contextmanager
def waiting(
    hints: Hints, position: int, *, seconds: float = 2 * PATIENCE
) -> Iterator[Future[bool | None]]:
    """Wait for the position in another thread, as a request does."""

    def wait() -> bool | None:
        try:
            look = partial(has_reached, NAME, position)
            return hints.wait_until(look, name=NAME, position=position, seconds=seconds)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as executor:
        yield executor.submit(wait)


def is_waiting_for_hints(hints: Hints) -> bool:
    return hints.is_listening and hints.waiting > 0


@pytest.mark.usefixtures("read_models", "valkey")
class TestWithHints:
    def test_a_request_is_woken_when_the_position_is_reached(self, only_hints: Hints) -> None:
        reach(4)
        with Broadcaster() as broadcaster, waiting(only_hints, 5) as waited:
            wait_until(lambda: is_waiting_for_hints(only_hints))
            reach(5)
            broadcaster.send_reached(NAME, 5)
            assert waited.result(PATIENCE) is True

    def test_a_hint_about_another_machines_read_models_is_not_believed(
        self, only_hints: Hints
    ) -> None:
        reach(4)
        with Broadcaster() as broadcaster, waiting(only_hints, 5) as waited:
            wait_until(lambda: is_waiting_for_hints(only_hints))
            broadcaster.send_reached(NAME, 7).result(PATIENCE)
            with pytest.raises(TimeoutError):
                waited.result(0.3)
            reach(5)
            broadcaster.send_reached(NAME, 7)
            assert waited.result(PATIENCE) is True

    def test_a_hint_of_another_projection_or_an_earlier_position_wakes_nobody(
        self, only_hints: Hints
    ) -> None:
        with only_hints.of(NAME, 5) as hint:
            wait_until(lambda: only_hints.is_listening)
            hint.clear()
            only_hints.heard("loan_requests", 5)
            only_hints.heard(NAME, 4)
            assert not hint.is_set()
            only_hints.heard(NAME, 6)
            assert hint.is_set()

    def test_waiting_ends_after_the_given_time(self, hints: Hints) -> None:
        reach(4)
        began = time.monotonic()
        with waiting(hints, 5, seconds=0.3) as waited:
            assert not waited.result(PATIENCE)
        assert time.monotonic() - began >= 0.3

    def test_a_position_that_is_reached_already_takes_no_subscription(self, hints: Hints) -> None:
        reach(5)
        with waiting(hints, 5) as waited:
            assert waited.result(PATIENCE) is True
        assert not any(each.name == "positions" for each in threading.enumerate())

    def test_no_thread_is_left_when_the_listening_ends(self, hints: Hints) -> None:
        with hints.of(NAME, 1):
            wait_until(lambda: hints.is_listening)
        hints.close()
        assert not any(each.name == "positions" for each in threading.enumerate())


@pytest.mark.usefixtures("valkey")
def test_no_connection_is_held_while_waiting(hints: Hints, read_models: ReadModelsDatabase) -> None:
    connection = connections[read_models.alias]
    was_open_before_the_look: list[bool] = []

    def look() -> bool:
        was_open_before_the_look.append(connection.connection is not None)
        return has_reached(NAME, 5)

    reach(4)
    hints.wait_until(look, name=NAME, position=5, seconds=0.2)

    assert was_open_before_the_look[:2] == [True, True], "the two looks before it waits"
    assert not any(was_open_before_the_look[2:])
    assert len(was_open_before_the_look) > 2


WAITING_PROCESS = f"""
import os, sys, time
import django
django.setup()
from readmodels.live.positions import hints
with hints.of("loan_status", 5):
    deadline = time.monotonic() + {PATIENCE}
    while sys.argv[1] == "up" and not hints.is_listening:
        assert time.monotonic() < deadline
        time.sleep(0.01)
print("ends", flush=True)
"""


@pytest.mark.parametrize("is_up", [True, False])
def test_a_process_that_listens_ends_soon_and_without_an_error(
    valkey: RunningValkey, tmp_path: Path, is_up: bool
) -> None:
    if not is_up:
        valkey.stop()
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING_PROCESS, "up" if is_up else "away"],
        cwd=PROJECT,
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "lepret.settings",
            "LEPRET_DATA_DIR": str(tmp_path / "data"),
            "REDIS_URL": valkey.url,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ends\n"
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert [each for each in errors.splitlines() if "Lost the channel layer" not in each] == []


@pytest.mark.usefixtures("read_models")
class TestWithoutValkey:
    def test_it_checks_the_database_now_and_then(self, hints: Hints, valkey: RunningValkey) -> None:
        valkey.stop()
        reach(4)
        with waiting(hints, 5) as waited:
            wait_until(lambda: hints.waiting > 0)
            reach(5)
            assert waited.result(PATIENCE) is True

    def test_it_listens_again_when_valkey_is_back_and_logs_the_outage_once(
        self, only_hints: Hints, valkey: RunningValkey, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("INFO", "readmodels.live.positions")
        valkey.stop()
        with only_hints.of(NAME, 5):
            wait_until(lambda: "Lost the channel layer" in caplog.text)
        valkey.restart()
        wait_until(lambda: only_hints.is_listening)
        assert caplog.text.count("Lost the channel layer") == 1
        assert caplog.text.count("Regained the channel layer") == 1

    def test_a_valkey_that_was_restarted_is_heard_again(
        self, only_hints: Hints, valkey: RunningValkey
    ) -> None:
        with Broadcaster() as broadcaster, only_hints.of(NAME, 5) as hint:
            wait_until(lambda: only_hints.is_listening)
            valkey.restart()
            hint.clear()

            def is_heard() -> bool:
                broadcaster.send_reached(NAME, 5).result(PATIENCE)
                return hint.wait(0.1)

            wait_until(is_heard)
