"""Logs once that something is away, and once that it is back."""

from __future__ import annotations

from logging import Logger
from typing import Final


class Outage:
    """The time during which something is away, with the consequence of that for the log.

    `of` names the one that misses it, if that is not the whole process.
    """

    def __init__(self, logger: Logger, what: str, *, of: str = "", consequence: str = "") -> None:
        self._logger: Final = logger
        self._lost: Final = f"{of} lost {what}" if of else f"Lost {what}"
        self._regained: Final = f"{of} regained {what}" if of else f"Regained {what}"
        self._consequence: Final = consequence and f": {consequence}"
        self._is_on = False

    def begin(self, kind: str) -> None:
        """It is away, or still is; `kind` says which error showed that."""
        if not self._is_on:
            self._logger.warning("%s (%s)%s", self._lost, kind, self._consequence)
        self._is_on = True

    def end(self) -> None:
        """It is back, or was never away."""
        if self._is_on:
            self._logger.info("%s", self._regained)
        self._is_on = False
