"""Has refused applications take as long as accepted ones.

A refusal needs no score from the credit bureau and would come much sooner. The time that it takes
would then tell a stranger, who tries national IDs, which of them have an open request. The credit
bureau is not asked for that person in place of waiting: it may keep a record of who is asked for.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from loans.domain.loan_request import Rejection

# How many acceptances are remembered. Few, so that refusals soon follow a credit bureau that slows.
REMEMBERED: Final = 20
# Seconds that refusals take, between these, as long as nothing was accepted by this process.
AT_FIRST: Final = (0.1, 0.2)


@dataclass
class Application:
    """An application that is being handled."""

    is_new: bool = False
    is_refused: bool = False


class Pace:
    """The times that this process's latest acceptances took, in seconds.

    `before_waiting` is called before each wait, to give back what should not be held meanwhile.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
        before_waiting: Callable[[], object] = lambda: None,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._before_waiting = before_waiting
        self._lock = threading.Lock()
        self._latest: deque[float] = deque(maxlen=REMEMBERED)

    @contextmanager
    def application(self) -> Iterator[Application]:
        """Everything that is done for one application, up to its answer.

        If it is refused, the block takes as long as that of one of the latest acceptances, picked
        at random. An application counts as refused if the block ends with a `Rejection`, or says
        so. Those that are only repeated say nothing about how long a new one takes.
        """
        began = self._clock()
        application = Application()
        try:
            yield application
        except Rejection:
            application.is_refused = True
            raise
        finally:
            if application.is_refused:
                self._wait_until(began + self._picked())
            elif application.is_new:
                with self._lock:
                    self._latest.append(self._clock() - began)

    def _picked(self) -> float:
        with self._lock:
            latest = list(self._latest)
        return random.choice(latest) if latest else random.uniform(*AT_FIRST)  # noqa: S311

    def _wait_until(self, moment: float) -> None:
        self._before_waiting()
        if (seconds := moment - self._clock()) > 0:
            self._sleep(seconds)
