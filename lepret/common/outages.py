"""Logs an outage once when it begins and once when it ends."""

from __future__ import annotations

from logging import Logger
from typing import Final


class Outage:
    """An outage of `what`, such as the event store, with its consequence for the log.

    `of` names the part that is affected, if it is not the whole process.
    """

    def __init__(self, logger: Logger, what: str, *, of: str = "", consequence: str = "") -> None:
        self._logger: Final = logger
        self._lost: Final = f"{of} lost {what}" if of else f"Lost {what}"
        self._regained: Final = f"{of} regained {what}" if of else f"Regained {what}"
        self._consequence: Final = consequence and f": {consequence}"
        self._is_on = False

    def begin(self, kind: str) -> None:
        """It is down, or still is; `kind` is the type of the error."""
        if not self._is_on:
            self._logger.warning("%s (%s)%s", self._lost, kind, self._consequence)
        self._is_on = True

    def end(self) -> None:
        """It is up again, or was never down."""
        if self._is_on:
            self._logger.info("%s", self._regained)
        self._is_on = False
