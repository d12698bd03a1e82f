"""Real workers of a test's event store, and the loan requests that they work on."""

from __future__ import annotations

import os
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import httpx2
from esdbclient import RecordedEvent

from lepret.common.event_store_client import event_store_client
from loans.adapters import codec
from loans.workers.groups import Group
from tests.support.fork_server import Forked, ForkServer, fork_server
from tests.support.loans import Applicant, append_requested_loan
from tests.support.processes import wait_until

SECONDS: Final = 30.0


@dataclass(frozen=True)
class Ports:
    """Where workers look for their servers."""

    event_store: int
    bureau: int


@contextmanager
def forks_for_workers(ports: Ports, output_dir: Path) -> Iterator[ForkServer]:
    """Begins workers, and credit bureaus, which say in `output_dir` what they have to say."""
    variables = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.impatient_settings",
        "LEPRET_DATA_DIR": str(output_dir),
        "EVENTSTORE_URI": f"esdb://127.0.0.1:{ports.event_store}?tls=false",
        "CREDIT_BUREAU_URL": f"http://127.0.0.1:{ports.bureau}",
        # Many processes import the same modules: they are compiled once.
        "PYTHONPYCACHEPREFIX": str(Path(tempfile.gettempdir()) / "lepret-tests-compiled"),
    }
    variables.pop("PYTHONDONTWRITEBYTECODE", None)
    with fork_server(variables, output_dir) as server:
        yield server


class Workers:
    """Begins workers, and the credit bureau that they ask, which is away until it is begun."""

    def __init__(self, forks: ForkServer, ports: Ports) -> None:
        self._forks = forks
        self._ports = ports
        self._started: list[Forked] = []

    def check_credit(self, *arguments: str, name: str = "") -> Forked:
        """A worker that tries again soon, and has its name in the metadata of what it records."""
        name = name or f"check_credit-{uuid4().hex}"
        return self._start(
            "check_credit",
            "--longest-delay=0.5",
            *arguments,
            name=name,
            constants={"loans.application.use_cases.CREDIT_CHECK": name},
        )

    def release_reservations(self, *, lapse_after: float = 60.0) -> Forked:
        """A worker that gives up in so many seconds what was taken for a request."""
        return self._start("release_reservations", f"--lapse-after={lapse_after}")

    @contextmanager
    def bureau(self, *arguments: str) -> Iterator[BureauProcess]:
        """A credit bureau that runs within the block."""
        port = self._ports.bureau
        process = self._start("clearing_house", f"--port={port}", *arguments)
        wait_until(lambda: "credit bureau ready" in process.output, SECONDS, every=0.01)
        yield BureauProcess(f"http://127.0.0.1:{port}")
        assert process.stop() == 0

    def close(self) -> None:
        """End what is left."""
        for each in self._started:
            each.kill()

    def _start(self, *arguments: str, **options: Any) -> Forked:
        forked = self._forks.start(*arguments, **options)
        self._started.append(forked)
        return forked


@dataclass(frozen=True)
class BureauProcess:
    """A credit bureau in a process of its own."""

    url: str

    def asks(self) -> dict[str, dict[str, int]]:
        """How often it was asked and gave a score, for each key."""
        answer = httpx2.get(f"{self.url}/asks", trust_env=False, timeout=SECONDS)
        answer.raise_for_status()
        return dict(answer.json()["by_key"])


def wait_until_ready(*workers: Forked) -> None:
    """Wait until these take part in their groups. Raises AssertionError if one ends."""
    wait_until(lambda: all(map(_is_ready, workers)), SECONDS, what="all are ready", every=0.01)


def _is_ready(worker: Forked) -> bool:
    assert worker.status is None, worker.output
    return " is ready\n" in worker.output


def append_deferred(count: int) -> list[UUID]:
    """Requests, each of someone else, for which no score was to be had."""
    return [
        append_requested_loan(
            None, applicant=Applicant(national_id=f"{number:06}zz")
        ).loan_request_id
        for number in range(count)
    ]


def events_by_stream(*types: str) -> dict[str, list[RecordedEvent]]:
    """What the event store holds of these types, or of all, in commit order."""
    by_stream: dict[str, list[RecordedEvent]] = defaultdict(list)
    for event in event_store_client().read_all(filter_include=types):
        by_stream[event.stream_name].append(event)
    return by_stream


def types_of(loan_request_id: UUID) -> list[str]:
    """The types of the events in a request's stream."""
    stream = event_store_client().get_stream(codec.stream_name(loan_request_id))
    return [event.type for event in stream]


def checked_count() -> int:
    """How many requests have been scored."""
    return len(events_by_stream("CreditChecked"))


def wait_until_checked(ids: Sequence[UUID]) -> None:
    """Wait until all of these are scored, and no others."""
    wait_until(lambda: checked_count() >= len(ids), SECONDS, what="all are scored")
    assert set(events_by_stream("CreditChecked")) == {codec.stream_name(each) for each in ids}


def parked_count(group: Group) -> int:
    """How many events of a group are parked."""
    return event_store_client().get_subscription_info(group.name).parked_message_count
