"""What the commands that run workers have in common."""

from __future__ import annotations

import threading
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from esdbclient.connection_spec import ConnectionSpec
from esdbclient.exceptions import EventStoreDBClientException

from lepret.common.event_store_client import close_event_store_client, event_store_client
from lepret.common.event_store_refusals import in_words
from lepret.common.memory import prepare_memory
from lepret.common.option_types import number_in
from lepret.common.stopping import WAKE_SECONDS, stop_on_signals
from loans.dependencies import event_store
from loans.workers.groups import LONGEST_DELAY_SECONDS, Group, GroupMissing
from loans.workers.losses import LOSSES, Losses
from loans.workers.redelivery import Redelivery
from loans.workers.worker import TIMINGS, Worker

_REDELIVERY_OF_LOSSES: Final = Redelivery(retries=24, longest_delay=300.0)


def add_replay_option(parser: ArgumentParser) -> None:
    """Add the option `--replay-parked` to a command."""
    parser.add_argument(
        "--replay-parked",
        action="store_true",
        help="make the running workers retry all parked events, print how many, and exit; a "
        "secured event store wants a user in $ops for that",
    )


def losses_worker() -> Worker:
    """What every process with workers does as well: notice streams that an operator deleted."""
    return Worker(
        LOSSES,
        Losses(event_store=event_store()),
        connect=event_store_client,
        redelivery=_REDELIVERY_OF_LOSSES,
        threads=1,
    )


def work(workers: Sequence[Worker], *, command: BaseCommand, name: str) -> None:
    """Run workers until the process is told to stop; prints a line once all are connected.

    Raises:
        CommandError: a worker has ended by itself.
    """
    prepare_memory()
    stop = threading.Event()
    stop_on_signals(stop)
    is_ready = [threading.Event() for _ in workers]
    threads = [
        threading.Thread(target=worker.run, args=(stop, ready.set), daemon=True)
        for worker, ready in zip(workers, is_ready, strict=True)
    ]
    try:
        for thread in threads:
            thread.start()
        _say_when_ready(is_ready, stop, command, name)
        while not stop.wait(WAKE_SECONDS):
            if not all(thread.is_alive() for thread in threads):
                raise CommandError("A worker has ended by itself.")
        for thread in threads:
            # A worker needs a moment more to give back its unanswered events.
            thread.join(TIMINGS.finish_within + 6.0)
    finally:
        close_event_store_client()


def replay_parked(groups: Sequence[Group], *, command: BaseCommand) -> None:
    """Have what these groups have parked delivered again, and say how much that is.

    Raises:
        CommandError: there is no such group, or the event store is away or does not let us.
    """
    try:
        with errors_explained(ConnectionSpec(settings.EVENTSTORE_URI)):
            for group in (*groups, LOSSES):
                count = group.replay_parked(event_store_client())
                command.stdout.write(f"{group.purpose}: {count} parked to be tried anew.")
    finally:
        close_event_store_client()


@contextmanager
def errors_explained(spec: ConnectionSpec) -> Iterator[None]:
    """Raise a `CommandError` where an event store does not do what it is asked; `spec` names it."""
    try:
        yield
    except GroupMissing as missing:
        raise CommandError(f"{missing}.") from None
    except EventStoreDBClientException as error:
        why = in_words(error, spec) or f"The event store is away ({type(error).__qualname__})."
        raise CommandError(why) from None


def delay(text: str) -> float:
    """An option's value: a delay in seconds."""
    seconds = number_in(text)
    if not 0 < seconds <= LONGEST_DELAY_SECONDS:
        raise ArgumentTypeError(
            f"{text!r} is not a number of seconds above 0, up to {LONGEST_DELAY_SECONDS:g}"
        )
    return seconds


def _say_when_ready(
    is_ready: Sequence[threading.Event],
    stop: threading.Event,
    command: BaseCommand,
    name: str,
) -> None:
    while not stop.is_set():
        if all(each.wait(WAKE_SECONDS) for each in is_ready):
            command.stdout.write(f"{name} is ready")
            command.stdout.flush()
            return
