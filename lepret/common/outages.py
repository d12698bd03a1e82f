"""Tells the log once that something is away, and once that it is back."""

from __future__ import annotations

from logging import Logger
from typing import Final


class Outage:
    """Of something that may be away for long, with what follows from that."""

    def __init__(self, logger: Logger, what: str, *, consequence: str) -> None:
        self._logger: Final = logger
        self._what: Final = what
        self._consequence: Final = consequence
        self._is_on = False

    def begin(self, kind: str) -> None:
        """It is away, or still is; `kind` says how that showed."""
        if not self._is_on:
            self._logger.warning("Lost %s (%s): %s", self._what, kind, self._consequence)
        self._is_on = True

    def end(self) -> None:
        """It is back, or was never away."""
        if self._is_on:
            self._logger.info("Regained %s", self._what)
        self._is_on = False
