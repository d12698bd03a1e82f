"""Starts simulations as processes of their own: a million events cost minutes of a processor."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from typing import Final

from django.conf import settings

from loans.application import simulation_runs
from loans.application.simulation_runs import Run, RunsUnavailable

logger = logging.getLogger(__name__)

NOT_STARTED: Final = "Its process could not be started."


def start(run: Run) -> None:
    """Begin a simulation.

    Raises:
        AnotherRuns: one runs already.
        RunsUnavailable: the cache does not answer.
    """
    simulation_runs.begin(run)
    try:
        # Its standard input ends when this process does, whatever ends it, and so it ends, too.
        process = subprocess.Popen(  # noqa: S603 (our own program, and a UUID)
            [sys.executable, "manage.py", "simulate_policy", "--run", str(run.id)],
            cwd=settings.BASE_DIR,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
        )
    except OSError as error:
        logger.error("Could not start a simulation: %s", error.strerror)
        simulation_runs.end(run.model_copy(update={"problem": NOT_STARTED}))
        return
    threading.Thread(target=_watch, args=(process, run), name="simulation", daemon=True).start()


def _watch(process: subprocess.Popen[bytes], run: Run) -> None:
    """Wait for the end of a simulation, and say so of one that could not say it itself."""
    status = process.wait()
    assert process.stdin is not None, "it was asked for"
    process.stdin.close()
    try:
        seen = simulation_runs.look(run.id)
        if seen is not None and not seen.run.is_over:
            logger.warning("A simulation has ended without a result: exit status %s", status)
            problem = f"Its process has ended without a result (exit status {status})."
            simulation_runs.end(run.model_copy(update={"problem": problem}))
    except RunsUnavailable:
        logger.warning("The end of a simulation could not be noted: the cache does not answer")
