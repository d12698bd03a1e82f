"""A real `manage.py clearing_house`, for tests that talk to one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx2

from tests.support.processes import PROJECT, wait_until

READY_WORDS: Final = "credit bureau ready on "
SECONDS: Final = 30.0


class RunningClearingHouse:
    """The server as a process of its own."""

    def __init__(self, *arguments: str, directory: Path) -> None:
        """Start it; it takes a free port, unless the arguments name one."""
        self._output_file = directory / f"credit-bureau-{os.urandom(4).hex()}.log"
        with self._output_file.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "clearing_house", "--port", "0", *arguments],
                cwd=PROJECT,
                env={
                    **os.environ,
                    "DJANGO_SETTINGS_MODULE": "lepret.settings",
                    "LEPRET_DATA_DIR": str(directory),
                },
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def output(self) -> str:
        """What it printed so far."""
        return self._output_file.read_text()

    @property
    def url(self) -> str:
        """What `CREDIT_BUREAU_URL` is set to, once it is ready."""
        return self.output.partition(READY_WORDS)[2].split()[0]

    def wait_until_ready(self) -> None:
        """Wait until it listens. Raises AssertionError if it ends, or takes too long."""

        def is_ready() -> bool:
            assert self.process.poll() is None, self.output
            return READY_WORDS in self.output

        wait_until(is_ready, SECONDS, what="the credit bureau is ready", every=0.02)

    def asks(self) -> dict[str, Any]:
        """What it was asked, and how often it gave a score: see `loans.clearing_house`."""
        answer = httpx2.get(f"{self.url}/asks", trust_env=False, timeout=SECONDS)
        answer.raise_for_status()
        return dict(answer.json())

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end, or have it ended. Returns its exit status."""
        self.process.send_signal(number)
        return self.process.wait(SECONDS)


@contextmanager
def running_clearing_house(*arguments: str, directory: Path) -> Iterator[RunningClearingHouse]:
    """A credit bureau that is ready, and gone when this is left; its log lies in `directory`."""
    clearing_house = RunningClearingHouse(*arguments, directory=directory)
    try:
        clearing_house.wait_until_ready()
        yield clearing_house
    finally:
        if clearing_house.process.poll() is None:
            clearing_house.stop(signal.SIGKILL)
