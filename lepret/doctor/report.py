"""Asks all services at once, and makes a line of what each has answered."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Final, TypeVar

from lepret.common.health import in_thread

T = TypeVar("T")

# How long a service has for all its answers together, and for each of them.
SECONDS: Final = 6.0
SECONDS_FOR_AN_ANSWER: Final = 4.0

# Returns what it has found, in words; raises Trouble. Runs in a thread.
Check = Callable[[], str]


class Trouble(Exception):
    """Something is wrong; the message says in one line what it is and what to do, and no secret."""


@dataclass(frozen=True)
class Line:
    """What was found out about a service."""

    name: str
    is_fine: bool
    found: str

    def __str__(self) -> str:
        return f"{self.name:<19} {'fine' if self.is_fine else 'wrong'}: {self.found}"


def examine(checks: Mapping[str, Check]) -> Iterator[Line]:
    """Make all checks at once, for `SECONDS` at most. Yields a line for each, in their order."""
    for name, answer in all_at_once(checks, seconds=SECONDS).items():
        yield _line(name, answer)


def all_at_once(
    questions: Mapping[str, Callable[[], T]], *, seconds: float
) -> dict[str, Future[T]]:
    """The answers, each in a thread of its own; after `seconds` some may not be done."""
    answers = {name: in_thread(name, ask) for name, ask in questions.items()}
    wait(answers.values(), timeout=seconds)
    return answers


def causes(error: BaseException | None) -> Iterable[BaseException]:
    """An error, what it was raised from, and so on."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _line(name: str, answer: Future[str]) -> Line:
    if not answer.done():
        return Line(name, is_fine=False, found=_hangs())
    error = answer.exception()
    if error is None:
        return Line(name, is_fine=True, found=answer.result())
    if isinstance(error, Trouble):
        return Line(name, is_fine=False, found=str(error))
    # Nobody has foreseen it, and its own words may quote a secret.
    kind = type(error).__qualname__
    return Line(name, is_fine=False, found=f"it cannot be examined ({kind}): see its own log")


def _hangs() -> str:
    return (
        f"no answer in {SECONDS:g} s: it hangs, or something between swallows what is sent; see "
        "its own log, and the network"
    )
