"""A process ends when it is asked to, even if the signal does not wake its main thread."""

from __future__ import annotations

import subprocess
import sys
from typing import Final

import pytest

from tests.support.processes import PATIENCE, PROJECT

# Another thread receives the signal, so that it does not wake the waiting main thread. The same
# happens if a signal arrives just before the main thread begins to wait.
SCRIPT: Final = """
import signal, sys, threading, time, traceback
import django
django.setup()
from lepret.common.stopping import stop_on_signals, wait_for
from readmodels.management.commands.project import run_all

def names_on_the_main_threads_stack():
    frame = sys._current_frames()[threading.main_thread().ident]
    return {each.f_code.co_qualname for each, _ in traceback.walk_stack(frame)}

def take_the_signal():
    while not {waits, "Condition.wait"} <= names_on_the_main_threads_stack():
        time.sleep(0.001)
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

stop = threading.Event()
stop_on_signals(stop)
threading.Thread(target=take_the_signal, daemon=True).start()
"""


@pytest.mark.parametrize(
    ("call", "waits"),
    [("wait_for(stop)", "wait_for"), ("run_all([stop.wait], stop)", "wait")],
)
def test_a_signal_that_does_not_wake_the_main_thread_is_noticed(call: str, waits: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", f"waits = {waits!r}\n{SCRIPT}{call}"],
        cwd=PROJECT,
        env={"DJANGO_SETTINGS_MODULE": "tests.settings"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
