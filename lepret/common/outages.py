"""Outages: logged once when they begin, once for each cause in words, and once when they end."""

from __future__ import annotations

from collections.abc import Callable
from logging import Logger
from typing import Final, TypeVar

T = TypeVar("T")


class Outage:
    """An outage of `what`, such as the event store, with its consequence for the log.

    `of` names the part that is affected, if it is not the whole process.
    """

    def __init__(self, logger: Logger, what: str, *, of: str = "", consequence: str = "") -> None:
        self._logger: Final = logger
        self._lost: Final = f"{of} lost {what}" if of else f"Lost {what}"
        self._regained: Final = f"{of} regained {what}" if of else f"Regained {what}"
        self._consequence: Final = consequence
        self._is_on = False
        self._why: str | None = None

    def begin(self, kind: str, why: str | None = None) -> None:
        """It is down, or still is; `kind` is the type of the error.

        `why` is what it says, in words, if that is known. If it says something else, that is
        logged, too.
        """
        if why and why != self._why:
            self._log(f": {why}", f"; {self._consequence}")
            self._why = why
        elif not self._is_on:
            self._log(f" ({kind})", f": {self._consequence}")
        self._is_on = True

    def end(self) -> None:
        """It is up again, or was never down."""
        if self._is_on:
            self._logger.info("%s", self._regained)
        self._is_on = False
        self._why = None

    def _log(self, cause: str, consequence: str) -> None:
        self._logger.warning("%s%s%s", self._lost, cause, consequence if self._consequence else "")


class Circuit:
    """Asks a service whose answers can be done without.

    After a failure it is not asked for some seconds: while it hangs, every caller would wait for
    it. Then one caller tries it for all.
    """

    def __init__(
        self,
        outage: Outage,
        *,
        failures: type[Exception],
        seconds_without_asking: float,
        clock: Callable[[], float],
    ) -> None:
        self._outage = outage
        self._failures = failures
        self._pause = seconds_without_asking
        self._clock = clock
        self._is_broken = False
        self._asks_from = 0.0

    def ask(self, question: Callable[[], T], *, if_unknown: T) -> T:
        """The answer; `if_unknown` if the service is down, or was a moment ago."""
        if self._is_broken:
            if self._clock() < self._asks_from:
                return if_unknown
            self._asks_from = self._clock() + self._pause
        try:
            answer = question()
        except self._failures as error:
            self._is_broken = True
            self._asks_from = self._clock() + self._pause
            self._outage.begin(type(error).__qualname__)
            return if_unknown
        self._is_broken = False
        self._outage.end()
        return answer
