"""A circuit breaker: stops calling a service for a while after it has failed too often."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from lepret.common.outages import Outage


class CircuitOpen(Exception):
    """The call was refused.

    Attributes:
        retry_after: seconds until the next trial; 0 while one is running.
    """

    def __init__(self, retry_after: float) -> None:
        super().__init__(f"open for another {retry_after:g} seconds")
        self.retry_after = retry_after


class CircuitBreaker:
    """Opens after a number of failures in a row, and then refuses calls.

    After a pause one call is let through as a trial. If it fails, another pause begins; otherwise
    the breaker closes, and lets all calls through again.

    It takes no lock: all calls must be made in one thread, for example by one event loop.
    """

    def __init__(
        self,
        *,
        failures: int,
        pause: float,
        is_failure: Callable[[BaseException], bool],
        outage: Outage,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start closed.

        Args:
            failures: how many in a row open it.
            pause: seconds.
            is_failure: whether an exception counts as a failure; all others count as a success.
            outage: begins when the breaker opens, and ends when it closes.
            clock: returns seconds, like `time.monotonic`.
        """
        self._failures_to_open: Final = failures
        self._pause: Final = pause
        self._is_failure: Final = is_failure
        self._outage: Final = outage
        self._clock: Final = clock
        self._failures_in_a_row = 0
        self._next_trial_at = 0.0
        self._has_trial = False

    @property
    def is_open(self) -> bool:
        """Whether every call is refused because the pause is not over."""
        return not self._is_closed and self._clock() < self._next_trial_at

    @contextmanager
    def call(self) -> Iterator[None]:
        """Make a call in this context.

        Raises:
            CircuitOpen: the call must not be made.
        """
        is_trial = not self._is_closed
        if is_trial and (self.is_open or self._has_trial):
            raise CircuitOpen(max(self._next_trial_at - self._clock(), 0.0))
        self._has_trial |= is_trial
        try:
            yield
        except BaseException as error:
            self._count(has_failed=self._is_failure(error))
            raise
        else:
            self._count(has_failed=False)
        finally:
            self._has_trial &= not is_trial

    @property
    def _is_closed(self) -> bool:
        return self._failures_in_a_row < self._failures_to_open

    def _count(self, *, has_failed: bool) -> None:
        self._failures_in_a_row = self._failures_in_a_row + 1 if has_failed else 0
        if self._is_closed:
            self._outage.end()
        else:
            self._next_trial_at = self._clock() + self._pause
            self._outage.begin(f"failed {self._failures_in_a_row} times in a row")
