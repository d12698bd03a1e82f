"""Which projector runs which projection: the rules, and where they lead from any situation."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Final

from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st

from readmodels.projections import PROJECTIONS
from readmodels.projector.coordination.advisory_locks import key_of
from readmodels.projector.coordination.assignment import (
    LOOKS_UNTIL_OVERDUE,
    OverdueProjections,
    Plan,
    Projector,
    Projectors,
    plan,
)

A, B, C, D = range(4)
ALL: Final = frozenset({A, B, C, D})
EVERY_PROJECTION: Final = range(6)
ENOUGH_ROUNDS: Final = 100
STILL_ROUNDS: Final = 2 * LOOKS_UNTIL_OVERDUE


def projector(*assigned: int, candidate_for: frozenset[int] = ALL) -> Projector:
    return Projector(candidate_for, frozenset(assigned))


def plans(seen: Projectors, *, overdue: frozenset[int] = frozenset()) -> dict[int, Plan]:
    """The plans of those projectors that will do something."""
    everyone = {me: plan(seen, me=me, overdue=overdue) for me in seen}
    return {me: todo for me, todo in everyone.items() if todo != Plan()}


def take(*projections: int) -> Plan:
    return Plan(take=frozenset(projections))


class TestAnUnassignedProjection:
    def test_is_taken_by_the_one_projector_that_there_is(self) -> None:
        assert plans({7: projector()}) == {7: take(A, B, C, D)}

    def test_falls_to_the_candidate_with_the_fewest_assigned(self) -> None:
        seen = {7: projector(A, B), 8: projector(C)}
        assert plans(seen) == {8: take(D)}

    def test_falls_to_the_lowest_number_among_equals(self) -> None:
        seen = {9: projector(A), 8: projector(B), 10: projector(C)}
        assert plans(seen) == {8: take(D)}

    def test_is_shared_out_with_the_others_that_are_unassigned(self) -> None:
        assert plans({7: projector(), 8: projector()}) == {7: take(A, C), 8: take(B, D)}

    def test_is_not_taken_by_those_who_cannot_run_it(self) -> None:
        seen = {7: projector(candidate_for=frozenset({A})), 8: projector(B, C, D)}
        assert plans(seen) == {7: take(A)}
        seen = {7: projector(candidate_for=frozenset()), 8: projector(B, C, D)}
        assert plans(seen) == {8: take(A)}

    def test_is_taken_by_any_candidate_when_it_is_overdue(self) -> None:
        seen = {7: projector(), 8: projector(A, B, C), 9: projector(candidate_for=frozenset({A}))}
        assert plans(seen, overdue=frozenset({D})) == {7: take(D), 8: take(D)}

    def test_is_overdue_when_it_has_been_unassigned_for_some_looks_in_a_row(self) -> None:
        overdue = OverdueProjections()
        is_unassigned, is_assigned = {7: projector(A, B, C)}, {7: projector(A, B, C, D)}
        overdue.after_look(is_unassigned)
        overdue.after_look(is_assigned)
        found = [overdue.after_look(is_unassigned) for _ in range(LOOKS_UNTIL_OVERDUE)]
        assert found == [set()] * (LOOKS_UNTIL_OVERDUE - 1) + [{D}]


class TestAnAssignedProjection:
    def test_is_released_for_a_candidate_that_runs_two_less(self) -> None:
        assert plans({7: projector(A, B, C, D), 8: projector()}) == {7: Plan(release=D)}
        assert plans({7: projector(A, B, C), 8: projector(D)}) == {7: Plan(release=C)}

    def test_stays_where_a_move_would_only_swap_the_numbers(self) -> None:
        assert plans({7: projector(A, B), 8: projector(C), 9: projector(D)}) == {}

    def test_stays_where_nobody_else_can_run_it(self) -> None:
        seen = {7: projector(A, B, C, D), 8: projector(candidate_for=frozenset())}
        assert plans(seen) == {}

    def test_is_released_only_by_the_projector_with_the_largest_surplus(self) -> None:
        seen = {
            7: Projector(frozenset({1, 2}), frozenset({1, 2})),
            8: Projector(frozenset({3, 4, 5}), frozenset({3, 4, 5})),
            9: Projector(frozenset({1, 2, 3}), frozenset()),
        }
        assert plans(seen) == {8: Plan(release=3)}

    def test_stays_while_another_is_unassigned(self) -> None:
        assert plans({7: projector(A, B, C), 8: projector()}) == {8: take(D)}

    def test_is_left_alone_by_a_projector_that_does_not_see_itself(self) -> None:
        assert plan({7: projector(A, B, C, D)}, me=8, overdue=ALL) == Plan()


def test_no_two_projections_have_the_same_lock() -> None:
    assert len({key_of(name) for name in PROJECTIONS}) == len(PROJECTIONS)


@dataclass
class Simulated:
    """A projector that looks, and acts on what it saw at a later moment."""

    number: int
    candidate_for: frozenset[int]
    hangs: bool = False
    runs: set[int] = field(default_factory=set)
    overdue: OverdueProjections = field(default_factory=OverdueProjections)
    todo: Plan | None = None

    def look_or_act(self, everyone: list[Simulated]) -> None:
        if self.hangs:
            return
        if self.todo is None:
            seen = {each.number: each.seen() for each in everyone}
            self.todo = plan(seen, me=self.number, overdue=self.overdue.after_look(seen))
            return
        taken = {projection for each in everyone for projection in each.runs}
        self.runs |= self.todo.take - taken
        self.runs -= {self.todo.release}
        self.todo = None

    def seen(self) -> Projector:
        return Projector(self.candidate_for, frozenset(self.runs))


class Simulation:
    """Any number of projectors, each of which looks once and acts once in a round."""

    def __init__(self) -> None:
        self.everyone: list[Simulated] = []
        self._joined = 0

    def join(self, candidate_for: frozenset[int]) -> None:
        # A higher number does not mean that a projector is younger.
        number = (self._joined * 7 + 3) % 101
        self._joined += 1
        self.everyone.append(Simulated(number, candidate_for))

    def die(self, index: int) -> None:
        if self.everyone:
            del self.everyone[index % len(self.everyone)]

    def hang(self, index: int) -> None:
        if self.everyone:
            self.everyone[index % len(self.everyone)].hangs = True

    def end_sessions_that_hang(self) -> None:
        """End them as the server does with sessions that it does not hear from."""
        self.everyone = [each for each in self.everyone if not each.hangs]

    def round(self, chance: random.Random) -> None:
        # Each gets two turns, in any order: in one it looks, in the other it acts.
        turns = [index for index in range(len(self.everyone)) for _ in range(2)]
        chance.shuffle(turns)
        for index in turns:
            self.everyone[index].look_or_act(self.everyone)
        self.assert_none_runs_twice_or_where_it_cannot()

    def assert_none_runs_twice_or_where_it_cannot(self) -> None:
        running = [projection for each in self.everyone for projection in each.runs]
        assert len(running) == len(set(running))
        assert all(each.runs <= each.candidate_for for each in self.everyone)

    def state(self) -> dict[int, frozenset[int]]:
        return {each.number: frozenset(each.runs) for each in self.everyone}

    def assert_all_that_can_run_runs(self) -> None:
        wanted = {projection for each in self.everyone for projection in each.candidate_for}
        assert wanted == {projection for each in self.everyone for projection in each.runs}

    def assert_the_spread_is_fair(self) -> None:
        for giver in self.everyone:
            for projection in giver.runs:
                others = [each for each in self.everyone if projection in each.candidate_for]
                assert len(giver.runs) <= min(len(each.runs) for each in others) + 1


candidacies = st.frozensets(st.sampled_from(EVERY_PROJECTION))
happenings = st.lists(
    st.one_of(
        st.tuples(st.just(Simulation.join), candidacies | st.just(frozenset(EVERY_PROJECTION))),
        st.tuples(st.sampled_from([Simulation.die, Simulation.hang]), st.integers(0, 9)),
        st.none(),
    ),
    max_size=12,
)


@settings(max_examples=150, deadline=None)
@for_all(happenings, st.integers())
def test_whatever_happens_each_projection_comes_to_run_once_and_stays(
    happenings: list[tuple[object, object] | None], seed: int
) -> None:
    simulation, chance = Simulation(), random.Random(seed)
    for happening in happenings:
        if happening is not None:
            happen, what = happening
            happen(simulation, what)  # type: ignore[operator]
        simulation.round(chance)
    simulation.end_sessions_that_hang()

    rounds, still = 0, 0
    while still < STILL_ROUNDS:
        assert rounds < ENOUGH_ROUNDS
        before = simulation.state()
        simulation.round(chance)
        rounds, still = rounds + 1, still + 1 if simulation.state() == before else 0

    simulation.assert_all_that_can_run_runs()
    simulation.assert_the_spread_is_fair()
