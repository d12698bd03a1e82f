"""Real worker processes on a test's event store, and loan requests for them."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import httpx2
from esdbclient import RecordedEvent

from lepret.common.event_store_client import event_store_client
from loans.adapters import codec
from loans.workers.groups import Group
from tests.support.fork_server import Forked, ForkServer, fork_server
from tests.support.loans import Applicant, append_requested_loan
from tests.support.processes import PATIENCE, PROJECT, wait_until


@dataclass(frozen=True)
class Ports:
    """The ports of the servers that workers connect to."""

    event_store: int
    credit_bureau: int


@contextmanager
def forks_for_workers(
    ports: Ports, output_dir: Path, project: Path = PROJECT, *, event_store_uri: str = ""
) -> Iterator[ForkServer]:
    """Starts workers and credit bureaus, whose output goes to `output_dir`.

    `event_store_uri` is for an event store that wants more than to be found at its port.
    """
    variables = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.impatient_settings",
        "LEPRET_DATA_DIR": str(output_dir),
        "EVENTSTORE_URI": event_store_uri or f"esdb://127.0.0.1:{ports.event_store}?tls=false",
        "CREDIT_BUREAU_URL": f"http://127.0.0.1:{ports.credit_bureau}",
    }
    with fork_server(variables, output_dir, project) as server:
        yield server


class Workers:
    """Starts workers, and the credit bureau that they ask."""

    def __init__(self, forks: ForkServer, ports: Ports) -> None:
        self._forks = forks
        self._ports = ports
        self._started: list[Forked] = []

    def check_credit(self, *arguments: str) -> Forked:
        """Start a worker whose retries have short delays."""
        return self._start("check_credit", "--longest-delay=0.5", *arguments)

    def release_reservations(self, *, lapse_after: float = 600.0) -> Forked:
        """Start a worker that lapses reservations after `lapse_after` seconds."""
        return self._start("release_reservations", f"--lapse-after={lapse_after}")

    @contextmanager
    def credit_bureau(self, *arguments: str) -> Iterator[RunningCreditBureau]:
        """A credit bureau that runs during the block."""
        port = self._ports.credit_bureau
        process = self._start("clearing_house", f"--port={port}", *arguments)
        wait_until(lambda: "credit bureau ready" in process.output, every=0.01)
        yield RunningCreditBureau(f"http://127.0.0.1:{port}")
        assert process.stop() == 0

    def close(self) -> None:
        """Kill the processes that still run."""
        for each in self._started:
            each.kill()

    def _start(self, *arguments: str) -> Forked:
        forked = self._forks.start(*arguments)
        self._started.append(forked)
        return forked


@dataclass(frozen=True)
class RunningCreditBureau:
    """A credit bureau that runs."""

    url: str

    def asks(self) -> dict[str, dict[str, int]]:
        """How often it was asked, and gave a score, by idempotency key."""
        answer = httpx2.get(f"{self.url}/asks", trust_env=False, timeout=PATIENCE)
        answer.raise_for_status()
        return dict(answer.json()["by_key"])

    def in_flight(self) -> int:
        """How many requests it has not answered yet, provided that none of them fails."""
        return sum(each["asked"] - each["answered"] for each in self.asks().values())


def wait_until_ready(*workers: Forked) -> None:
    """Wait until these workers are connected. Raises AssertionError if one ends."""
    wait_until(lambda: all(map(_is_ready, workers)), what="all are ready", every=0.01)


def _is_ready(worker: Forked) -> bool:
    assert worker.status is None, worker.output
    return " is ready\n" in worker.output


def append_deferred(count: int) -> list[UUID]:
    """Record requests without a score, each of another applicant."""
    return [
        append_requested_loan(
            None, applicant=Applicant(national_id=f"{number:06}zz")
        ).loan_request_id
        for number in range(count)
    ]


def events_by_stream(*types: str) -> dict[str, list[RecordedEvent]]:
    """All events of these types (or of all types) by stream, in commit order."""
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
    """Wait until these requests, and no others, are scored."""
    wait_until(lambda: checked_count() >= len(ids), what="all are scored")
    assert set(events_by_stream("CreditChecked")) == {codec.stream_name(each) for each in ids}


def parked_count(group: Group) -> int:
    """How many events of a group are parked."""
    return event_store_client().get_subscription_info(group.name).parked_message_count
