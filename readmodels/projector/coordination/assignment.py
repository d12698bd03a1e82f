"""Decides which projector runs which projection, from what each of them can see of all.

Pure: looking and acting is `coordination`'s. Every projector decides for itself, and all decide
alike where they see the same, so that mostly one of them acts, and never two on the same.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

# Everyone looks at the same pace, but not at the same moment: whoever should take a projection has
# by the third look of anyone else had two of its own.
PATIENCE: Final = 3


@dataclass(frozen=True)
class Projector:
    """What one projector can run, and what it runs. Projections are known by a number."""

    candidate_of: frozenset[int] = frozenset()
    runs: frozenset[int] = frozenset()


# By a number of each projector's own.
Look = Mapping[int, Projector]


@dataclass(frozen=True)
class Plan:
    """What one projector should do now."""

    take: frozenset[int] = frozenset()
    give_up: int | None = None


class Watch:
    """Knows which projections have been free for so long that their next projector must hang."""

    def __init__(self) -> None:
        self._looks: dict[int, int] = {}

    def overdue(self, look: Look) -> set[int]:
        """To be asked once per look."""
        self._looks = {each: self._looks.get(each, 0) + 1 for each in free(look)}
        return {each for each, looks in self._looks.items() if looks >= PATIENCE}


def free(look: Look) -> set[int]:
    """The projections that someone could run and nobody runs."""
    wanted = {each for projector in look.values() for each in projector.candidate_of}
    return wanted - {each for projector in look.values() for each in projector.runs}


def plan(look: Look, *, me: int, overdue: Collection[int]) -> Plan:
    """What `me` should do: take what falls to it, and what is `overdue`; or give one up.

    One projection moves at a time, from the projector that has most too many, and none while
    another is free. Each move makes the spread more even, so that moves come to an end: then nobody
    runs two more than another candidate of what it runs.
    """
    if me not in look:
        return Plan()
    falls_to = _deal(look)
    if falls_to:
        mine = look[me].candidate_of
        return Plan(
            take=frozenset(
                each
                for each, taker in falls_to.items()
                if taker == me or (each in overdue and each in mine)
            )
        )
    giver, projection = _best_move(look)
    return Plan(give_up=projection if giver == me else None)


def _deal(look: Look) -> dict[int, int]:
    """For each free projection the projector that it falls to: the one that runs least."""
    loads = {number: len(projector.runs) for number, projector in look.items()}
    falls_to: dict[int, int] = {}
    for projection in sorted(free(look)):
        taker = min(_candidates(look, projection), key=lambda number: (loads[number], number))
        falls_to[projection] = taker
        loads[taker] += 1
    return falls_to


def _best_move(look: Look) -> tuple[int, int] | tuple[None, None]:
    """Who should give up which projection, so that the spread gets more even by most."""
    moves = [
        (_surplus(look, giver, projection), giver, projection)
        for giver, projector in look.items()
        for projection in projector.runs
    ]
    surplus, giver, projection = max(moves, default=(0, 0, 0))
    # With one more than the other, a move would only turn things round.
    return (giver, projection) if surplus > 1 else (None, None)


def _surplus(look: Look, giver: int, projection: int) -> int:
    """How many more projections the giver runs than that candidate which runs least."""
    runs = len(look[giver].runs)
    others = (len(look[number].runs) for number in _candidates(look, projection))
    return runs - min(others, default=runs)


def _candidates(look: Look, projection: int) -> list[int]:
    return [number for number, each in look.items() if projection in each.candidate_of]
