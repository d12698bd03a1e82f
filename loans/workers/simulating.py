"""Carries out a simulation that a page has begun, in a process of its own."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final
from uuid import UUID

from django.utils import timezone

from lepret.common.error_places import type_and_place
from lepret.common.event_store_connection import SharedClient
from loans.adapters.event_store import EventStoreUnavailable
from loans.application import simulation_runs
from loans.application.policy_simulations import Report, report_on
from loans.application.simulation_runs import Run, RunsUnavailable
from loans.domain.policy_simulation import Period

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_BEATS: Final = 1.0
# So that pages come first: the kernel gives it what they leave.
NICENESS: Final = 10

STORE_AWAY: Final = "The event store does not answer. Please try again in a minute."
STOPPED: Final = "It was stopped: its web server was, or somebody ended its process."
FAILED: Final = "The web server's log says why."


class NoSuchRun(Exception):
    """The simulation is not kept any more."""


def carry_out(run_id: UUID, *, connect: Callable[[], SharedClient]) -> None:
    """Simulate, and keep what came of it. Ends, too, when the web server that began it does.

    Raises:
        NoSuchRun: there is nothing to carry out.
        RunsUnavailable: the result could not be kept.
    """
    seen = simulation_runs.look(run_id)
    if seen is None:
        raise NoSuchRun(str(run_id))
    os.nice(NICENESS)
    _end_with_the_web_server()
    simulation_runs.end(_over(seen.run, connect))


def _over(run: Run, connect: Callable[[], SharedClient]) -> Run:
    try:
        return run.model_copy(update={"report": _report(run, connect)})
    except EventStoreUnavailable:
        return run.model_copy(update={"problem": STORE_AWAY})
    except KeyboardInterrupt:
        return run.model_copy(update={"problem": STOPPED})
    except Exception as error:  # noqa: BLE001 (whatever it is, the page must say that it is over)
        logger.error("A simulation has failed: %s", type_and_place(error))
        return run.model_copy(update={"problem": FAILED})


def _report(run: Run, connect: Callable[[], SharedClient]) -> Report:
    period = Period(run.first, run.last, timezone.get_default_timezone())
    heart = Heart(run.id)
    with heart.beating():
        return report_on(run.policy, period, connect=connect, on_page=heart.note)


class Heart:
    """Says every second that a simulation is alive, and how far it is."""

    def __init__(self, run_id: UUID) -> None:
        self._run_id = run_id
        self._percent = 0
        self._stop = threading.Event()

    def note(self, reached: int, end: int) -> None:
        """Record how far it is."""
        self._percent = 100 * reached // end if end else 100

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Beat during the block. If another simulation runs instead, this one is ended."""
        thread = threading.Thread(target=self._beat, name="heart", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            # A beat that came after the end would hold up the next simulation.
            thread.join()

    def _beat(self) -> None:
        while not self._stop.is_set():
            with suppress(RunsUnavailable):
                if not simulation_runs.beat(self._run_id, self._percent):
                    _end_this_process()
            self._stop.wait(SECONDS_BETWEEN_BEATS)


def _end_with_the_web_server() -> None:
    """End when standard input does: the web server holds its other end, and closes it by ending."""

    def watch() -> None:
        # Not through its buffer, whose lock a process that ends otherwise would ask for in vain.
        while os.read(sys.stdin.fileno(), 1):
            pass
        _end_this_process()

    threading.Thread(target=watch, name="web server", daemon=True).start()


def _end_this_process() -> None:
    # The kernel gives it to the main thread, which may be waiting for the event store.
    os.kill(os.getpid(), signal.SIGTERM)
