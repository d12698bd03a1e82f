"""Brings events into a target's rows, whoever else does so, and whatever one of them contains."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from readmodels.projector.batches import (
    BatchRefused,
    Changes,
    CheckpointMoved,
    EventNotHandled,
    Target,
    apply_batch,
)
from readmodels.projector.received import Received


class TargetGone(Exception):
    """The rows are not to be written to any more: others took their place, or they were dropped."""


class WentBack(Exception):
    """The checkpoint went back: someone has restored an older database."""


class Applier:
    """Applies events to one target, from where it stands.

    `committed` is told after each commit which position was reached, and what has changed.
    """

    def __init__(self, target: Target, committed: Callable[[int, Changes], object]) -> None:
        self._target = target
        self._committed = committed
        self._recent = Pace()
        self.position = target.position
        self.pace = 0.0
        """Events per second."""

    def apply(self, events: Sequence[Received]) -> None:
        """Apply those events that lie after the position, in as few transactions as may be.

        Where one cannot be handled, those before it are applied.

        Raises:
            EventNotHandled, DatabaseAway, TargetGone, WentBack.
        """
        try:
            self._commit(events)
        except (EventNotHandled, BatchRefused):
            if len(events) == 1:
                raise
            for each in events:
                self._commit([each])

    def _commit(self, events: Sequence[Received]) -> None:
        while fresh := [each for each in events if each.position > self.position]:
            try:
                self.pace = self._recent.with_more(len(fresh))
                changes = apply_batch(self._target, fresh, after=self.position, pace=self.pace)
            except CheckpointMoved:
                self.look_again()
            else:
                self.position = fresh[-1].position
                self._committed(self.position, changes)

    def look_again(self) -> None:
        """Go to where somebody else has brought the target.

        Raises:
            TargetGone, WentBack.
        """
        progress = self._target.read_progress()
        if progress is None:
            raise TargetGone
        if progress.position < self.position:
            raise WentBack
        self.position = progress.position


class Pace:
    """How many events there were per second, over the last ten."""

    SECONDS: Final = 10.0

    def __init__(self) -> None:
        self._counted: deque[tuple[float, int]] = deque()
        self._sum = 0

    def with_more(self, count: int) -> float:
        """Events per second, now that there were `count` more."""
        now = time.monotonic()
        self._counted.append((now, count))
        self._sum += count
        while now - self._counted[0][0] > self.SECONDS:
            self._sum -= self._counted.popleft()[1]
        # Right after the first there is no time yet to divide by.
        return self._sum / max(now - self._counted[0][0], 1.0)
