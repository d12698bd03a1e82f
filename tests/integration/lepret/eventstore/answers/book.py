"""Reads the questions and answers of the text files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.integration.lepret.eventstore.answers.telling import Told

DIFFERENCES = "differences.txt"
DONE = "ok"
"""The answer to a command that succeeded and returned nothing."""

_FOLDER = Path(__file__).parent


class Exchange(NamedTuple):
    """A command, and what was answered."""

    command: str
    answer: Told


Steps = dict[str, list[Exchange]]


def expected_answers() -> Steps:
    """What the embedded event store should answer. Raises KeyError for a wrong difference."""
    steps: Steps = {}
    for path in sorted(_FOLDER.glob("*.txt")):
        if path.name != DIFFERENCES:
            steps |= _steps(path)
    for name, different in _steps(_FOLDER / DIFFERENCES).items():
        steps[name] = list(_replaced(steps[name], dict(different)))
    return steps


def _replaced(exchanges: list[Exchange], different: dict[str, Told]) -> Iterator[Exchange]:
    """The exchanges with other answers, by the number and the text of the command."""
    for number, (command, answer) in enumerate(exchanges, start=1):
        other = different.pop(f"{number} {command}", answer)
        yield Exchange(command, other)
    if different:
        raise KeyError(f"there are no such questions: {', '.join(different)}")


def _steps(path: Path) -> Steps:
    steps: Steps = {}
    exchanges: list[Exchange] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            exchanges = steps[line.strip("[]")] = []
        elif line.startswith(" "):
            exchanges[-1] = Exchange(exchanges[-1].command, json.loads(line))
        elif line and not line.startswith("#"):
            exchanges.append(Exchange(line, DONE))
    return steps
