"""Decides which projector runs which projection, from what all projectors run.

This is pure logic: `coordinator` reads what they run, and acts. Each projector decides for itself.
Those that see the same decide the same, so that usually only one of them acts; locks ensure that no
two run the same projection.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

# Projectors look equally often, but not at the same moment: by the third look of one projector,
# each of the others has had two in which to take what falls to it.
LOOKS_UNTIL_OVERDUE: Final = 3


@dataclass(frozen=True)
class Projector:
    """What one projector can run, and what is assigned to it. A projection is a number here."""

    candidate_for: frozenset[int] = frozenset()
    assigned: frozenset[int] = frozenset()


# By the number of each projector's session.
Projectors = Mapping[int, Projector]


@dataclass(frozen=True)
class Plan:
    """What one projector should do now."""

    take: frozenset[int] = frozenset()
    release: int | None = None


class OverdueProjections:
    """Counts in how many looks in a row each projection was unassigned.

    After too many, it is overdue: the projector that should have taken it must be hanging.
    """

    def __init__(self) -> None:
        self._looks: dict[int, int] = {}

    def after_look(self, seen: Projectors) -> set[int]:
        """Count one more look; returns the projections that any candidate may take by now."""
        self._looks = {each: self._looks.get(each, 0) + 1 for each in unassigned(seen)}
        return {each for each, looks in self._looks.items() if looks >= LOOKS_UNTIL_OVERDUE}


def unassigned(seen: Projectors) -> set[int]:
    """The projections that have a candidate, but are assigned to no projector."""
    wanted = {each for projector in seen.values() for each in projector.candidate_for}
    return wanted - {each for projector in seen.values() for each in projector.assigned}


def plan(seen: Projectors, *, me: int, overdue: Collection[int]) -> Plan:
    """What `me` should do: take what falls to it and what is `overdue`, or release a projection.

    One projection is moved at a time, and none while another is unassigned. It is moved from the
    projector with the largest surplus over a candidate for it. Each move evens out the numbers, so
    moves come to an end. Then no projector runs two more than another candidate for one of them.
    """
    if me not in seen:
        return Plan()
    falls_to = _deal(seen)
    if falls_to:
        mine = seen[me].candidate_for
        return Plan(
            take=frozenset(
                each
                for each, taker in falls_to.items()
                if taker == me or (each in overdue and each in mine)
            )
        )
    giver, projection = _best_move(seen)
    return Plan(release=projection if giver == me else None)


def _deal(seen: Projectors) -> dict[int, int]:
    """The projector for each unassigned projection: the candidate with the fewest assigned."""
    loads = {number: len(projector.assigned) for number, projector in seen.items()}
    falls_to: dict[int, int] = {}
    for projection in sorted(unassigned(seen)):
        taker = min(_candidates(seen, projection), key=lambda number: (loads[number], number))
        falls_to[projection] = taker
        loads[taker] += 1
    return falls_to


def _best_move(seen: Projectors) -> tuple[int, int] | tuple[None, None]:
    """The projector and the projection that it should release, to even out the numbers most."""
    moves = [
        (_surplus(seen, giver, projection), giver, projection)
        for giver, projector in seen.items()
        for projection in projector.assigned
    ]
    surplus, giver, projection = max(moves, default=(0, 0, 0))
    # With a surplus of one, the two would only swap their numbers.
    return (giver, projection) if surplus > 1 else (None, None)


def _surplus(seen: Projectors, giver: int, projection: int) -> int:
    """How many more projections the giver has than the candidate with the fewest."""
    load = len(seen[giver].assigned)
    others = (len(seen[number].assigned) for number in _candidates(seen, projection))
    return load - min(others, default=load)


def _candidates(seen: Projectors, projection: int) -> list[int]:
    return [number for number, each in seen.items() if projection in each.candidate_for]
