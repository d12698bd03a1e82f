"""Plays one step: carries out its commands, and tells what came of each."""

from __future__ import annotations

import contextlib
import re

from tests.integration.lepret.eventstore.answers.book import DONE, Exchange
from tests.integration.lepret.eventstore.answers.subscriptions import Groups
from tests.integration.lepret.eventstore.answers.telling import Told
from tests.support.processes import PATIENCE

_OPTION = re.compile(r"([a-z_]+)=(.*)", re.DOTALL)


class Scene(Groups):
    """A step on streams of its own, whose commands are the public methods of its bases."""

    def play(self, expected: list[Exchange]) -> list[Exchange]:
        """The commands with what was answered to them."""
        try:
            told = [(command, self._outcome(command, answer)) for command, answer in expected]
            self._learn_all()
        finally:
            self._close_all()
        return [Exchange(command, self._telling.placed(answer)) for command, answer in told]

    def _outcome(self, line: str, expected: Told) -> Told:
        self._expected = expected
        word, *rest = line.split(" ")
        options = {found[1]: found[2] for found in map(_OPTION.fullmatch, rest) if found}
        arguments = [text for text in rest if not _OPTION.fullmatch(text)]
        try:
            outcome = getattr(self, word)(*arguments, **options)
            return DONE if outcome is None else self._telling.told(outcome)
        except Exception as error:  # noqa: BLE001 - it is what is to be told
            return self._telling.told(error)

    def _learn_all(self) -> None:
        """Positions are told by events that the step may not have read."""
        self._learned(
            self._client.read_all(
                filter_include=f".*{self._own}.*", filter_by_stream_name=True, timeout=PATIENCE
            )
        )

    def _close_all(self) -> None:
        while self._taps:
            with contextlib.suppress(Exception):
                self.close()
