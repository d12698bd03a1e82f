"""A load of loan requests of all kinds, and later decisions on them."""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from uuid import UUID

from tests.support.loans import Applicant, append_approval, append_denial, append_requested_loan
from tests.support.processes import PATIENCE

# How many requests are left waiting for a decision.
_WAITING: Final = 20


class Traffic:
    """Requests from one thread. `requests` counts them."""

    def __init__(self, number: int) -> None:
        self.requests = 0
        self._waiting: deque[UUID] = deque()
        self._stop = threading.Event()
        self._problem: Exception | None = None
        self._number = number
        self._thread = threading.Thread(target=self._run, name=f"traffic-{number}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop after the current command. Raises the thread's exception, if any."""
        self._stop.set()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        if self._problem is not None:
            raise self._problem

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._request()
                if len(self._waiting) > _WAITING:
                    self._decide()
        except Exception as problem:  # noqa: BLE001 (raised in `stop`)
            self._problem = problem

    def _request(self) -> None:
        self.requests += 1
        score = random.randint(1, 10)
        someone = Applicant(
            name=f"Applicant {self._number}-{self.requests}",
            national_id=f"{self.requests % 1_000_000:06}z{'abcdefghij'[self._number]}",
            address=random.choice(["", f"{self.requests} Nowhere Lane"]),
        )
        answer = append_requested_loan(score, applicant=someone)
        if answer.status == "under_review":
            self._waiting.append(answer.loan_request_id)

    def _decide(self) -> None:
        # Not always the oldest one.
        self._waiting.rotate(random.randint(0, 3))
        random.choice([append_approval, append_denial])(self._waiting.popleft())


class AllTraffic:
    """Requests from several threads."""

    def __init__(self, threads: int) -> None:
        self._all = [Traffic(number) for number in range(threads)]

    @property
    def requests(self) -> int:
        """How many there are so far, in all threads."""
        return sum(each.requests for each in self._all)

    def start(self) -> None:
        for each in self._all:
            each.start()

    def stop(self) -> None:
        """Stop after the current commands. Raises a thread's exception, if any."""
        for each in self._all:
            each.stop()


@contextmanager
def traffic(*, threads: int = 1) -> Iterator[AllTraffic]:
    """Make requests and decisions as fast as possible while the block runs."""
    coming_in = AllTraffic(threads)
    coming_in.start()
    try:
        yield coming_in
    finally:
        coming_in.stop()
