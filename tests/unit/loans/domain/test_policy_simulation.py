"""What another policy would have done: counted by hand, and for any history."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

from hypothesis import given

from loans.domain.credit_report import CreditReport
from loans.domain.events import (
    ApprovalProposed,
    AutoApproved,
    AutoDenied,
    CreditChecked,
    CreditCheckParked,
    LoanEvent,
    LoanRequested,
    ManuallyApproved,
    ManuallyDenied,
    ManualReviewRequired,
    RequestClaimed,
)
from loans.domain.loan_request import LoanRequest, Status, fold
from loans.domain.policy import VERSION_0, Assessment, Factor, Policy, assess
from loans.domain.policy_simulation import (
    FOR_PEOPLE,
    MOST_EXAMPLES,
    Period,
    Was,
    WouldBe,
    is_changed,
    simulate,
)
from tests.support.policy_histories import History, histories, policies

MONDAY: Final = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
STRICTER: Final = Policy(
    deny_up_to=5, approve_from=9, automatic_up_to=10_000, four_eyes_above=20_000
)


def requested(number: int, amount: int, at: datetime = MONDAY) -> LoanRequested:
    return LoanRequested(
        id=UUID(int=number),
        occurred_at=at,
        name="Ann Example",
        national_id=f"{number:06}aa",
        amount=amount,
    )


def scored(number: int, amount: int, score: int, at: datetime = MONDAY) -> list[LoanEvent]:
    """A request, and what version 0 made of it."""
    same: dict[str, Any] = {"id": UUID(int=number), "occurred_at": at}
    review = ManualReviewRequired(
        **same,
        name="Ann Example",
        national_id=f"{number:06}aa",
        amount=amount,
        credit_score=score,
        requested_at=at,
    )
    outcome: dict[Assessment, LoanEvent] = {
        Assessment.APPROVE: AutoApproved(**same),
        Assessment.DENY: AutoDenied(**same),
        Assessment.REVIEW: review,
    }
    report = CreditReport(score=score)
    return [
        requested(number, amount, at),
        CreditChecked(**same, credit_score=score),
        outcome[assess(report, amount, VERSION_0.policy)],
    ]


def approved(number: int, by: str = "uma") -> ManuallyApproved:
    return ManuallyApproved(id=UUID(int=number), occurred_at=MONDAY, decided_by=by)


def denied(number: int) -> ManuallyDenied:
    return ManuallyDenied(
        id=UUID(int=number), occurred_at=MONDAY, decided_by="uma", reasons=("too_much_debt",)
    )


TUESDAY: Final = MONDAY + timedelta(days=1)
# As version 0 decided it: scores up to 4 denied, from 7 on approved.
BY_VERSION_0: Final[list[LoanEvent]] = [
    *scored(1, 5_000, 9),  # Approved at once, and would be.
    *scored(2, 5_000, 7),  # Approved at once; one person would look at it.
    *scored(3, 50_000, 10),  # Approved at once; two people would look at it.
    *scored(4, 7_000, 4),  # Denied at once, and would be.
    *scored(5, 3_000, 5),  # To people, who approve; it would be denied at once.
    *scored(6, 2_000, 5, TUESDAY),  # To people, who deny; it would be denied at once.
    *scored(7, 1_000, 6, TUESDAY),  # To people, who deny; and would be.
    *scored(8, 40_000, 6, TUESDAY),  # To people, and still there; it would be for two.
    requested(9, 6_000, TUESDAY),  # Not scored yet.
    ApprovalProposed(id=UUID(int=8), occurred_at=TUESDAY, by="uma", policy=0),
    ApprovalProposed(id=UUID(int=8), occurred_at=TUESDAY, by="ursula", policy=0),
    CreditCheckParked(id=UUID(int=9), occurred_at=TUESDAY, reason="timed out", attempts=3),
    approved(5),
    denied(6),
    denied(7),
]


class TestCountedByHand:
    def test_each_outcome_as_it_was_and_would_be(self) -> None:
        simulated = simulate(BY_VERSION_0, STRICTER)
        cells = {(cell.was, cell.would_be): (cell.count, cell.amount) for cell in simulated.matrix}
        assert cells == {
            (Was.APPROVED_AT_ONCE, WouldBe.APPROVED_AT_ONCE): (1, 5_000),
            (Was.APPROVED_AT_ONCE, WouldBe.FOR_ONE): (1, 5_000),
            (Was.APPROVED_AT_ONCE, WouldBe.FOR_TWO): (1, 50_000),
            (Was.DENIED_AT_ONCE, WouldBe.DENIED_AT_ONCE): (1, 7_000),
            (Was.APPROVED_BY_PEOPLE, WouldBe.DENIED_AT_ONCE): (1, 3_000),
            (Was.DENIED_BY_PEOPLE, WouldBe.DENIED_AT_ONCE): (1, 2_000),
            (Was.DENIED_BY_PEOPLE, WouldBe.FOR_ONE): (1, 1_000),
            (Was.UNDER_REVIEW, WouldBe.FOR_TWO): (1, 40_000),
            (Was.NOT_SCORED, WouldBe.NOT_SCORED): (1, 6_000),
        }
        assert (simulated.requests, simulated.amount) == (9, 119_000)
        assert simulated.changed == 4

    def test_work_by_the_day_of_the_report(self) -> None:
        simulated = simulate(BY_VERSION_0, STRICTER)
        assert (simulated.first, simulated.last, simulated.days) == (
            MONDAY.date(), TUESDAY.date(), 2,
        )  # fmt: skip
        work = {
            name: (each.total, each.per_day, each.busiest, each.on_busiest)
            for name, each in simulated.work.items()
        }
        assert work == {
            "reviews, as it was": (4, 2.0, TUESDAY.date(), 3),
            "reviews, as it would be": (4, 2.0, TUESDAY.date(), 2),
            "second opinions, as it was": (1, 0.5, TUESDAY.date(), 1),
            "second opinions, at most": (2, 1.0, TUESDAY.date(), 1),
        }

    def test_what_people_had_decided_of_what_it_would_decide_alone(self) -> None:
        of_approved, of_denied = simulate(BY_VERSION_0, STRICTER).contradictions
        assert (of_approved.decided, of_approved.otherwise) == (0, 0)
        assert of_denied.sentence == (
            "Of 2 that people had decided and that would now be denied at once, underwriters had "
            "approved 1."
        )
        more_generous = Policy(deny_up_to=4, approve_from=5)
        first, _ = simulate(BY_VERSION_0, more_generous).contradictions
        assert (first.decided, first.otherwise) == (3, 2)

    def test_examples_are_the_requests_that_would_stand_otherwise(self) -> None:
        examples = simulate(BY_VERSION_0, STRICTER).examples
        assert {example.id.int for example in examples} == {2, 3, 5, 6}
        example = next(each for each in examples if each.id.int == 3)
        assert (example.amount, example.score) == (50_000, 10)
        assert (example.was, example.would_be) == (Was.APPROVED_AT_ONCE, WouldBe.FOR_TWO)

    def test_a_rare_change_is_among_the_examples_of_many(self) -> None:
        many = [event for number in range(100, 200) for event in scored(number, 1, 7)]
        examples = simulate([*scored(1, 9, 5), *many], STRICTER).examples
        assert len(examples) == MOST_EXAMPLES
        assert UUID(int=1) in {example.id for example in examples}
        assert UUID(int=199) in {example.id for example in examples}

    def test_what_cannot_be_explained_goes_to_people(self) -> None:
        explaining = Policy(
            deny_unexplained=False, factors={"late_payments": Factor(applicant="Paid late.")}
        )
        late = CreditChecked(
            id=UUID(int=2), occurred_at=MONDAY, credit_score=3, factors=("late_payments",)
        )
        outcomes = {
            cell.would_be: cell.count
            for cell in simulate(
                [*scored(1, 5_000, 3), requested(2, 5_000), late], explaining
            ).matrix
        }
        assert outcomes == {WouldBe.FOR_ONE: 1, WouldBe.DENIED_AT_ONCE: 1}

    def test_nothing_has_happened(self) -> None:
        simulated = simulate([], STRICTER)
        assert (simulated.requests, simulated.days, simulated.matrix) == (0, 0, ())


class TestPeriod:
    def test_holds_who_applied_on_its_days_in_its_zone(self) -> None:
        new_year = datetime(2026, 12, 31, 23, 30, tzinfo=UTC)
        events = [requested(1, 1, new_year), requested(2, 20, new_year + timedelta(hours=1))]
        in_berlin = Period(first=date(2027, 1, 1), zone=ZoneInfo("Europe/Berlin"))
        assert simulate(events, STRICTER, in_berlin).amount == 21
        assert simulate(events, STRICTER, Period(first=date(2027, 1, 1))).amount == 20
        assert simulate(events, STRICTER, Period(last=date(2026, 12, 31))).amount == 1

    def test_takes_all_that_became_of_them_later(self) -> None:
        events = scored(1, 1, 6) + scored(2, 20, 6, TUESDAY) + [approved(1), denied(2)]
        monday = Period(last=MONDAY.date())
        (cell,) = simulate(events, STRICTER, monday).matrix
        assert (cell.was, cell.count) == (Was.APPROVED_BY_PEOPLE, 1)


class TestAnyHistory:
    @given(histories())
    def test_the_policy_that_was_in_force_changes_nothing(self, history: History) -> None:
        for in_force in history.policies:
            events = history.assessed_under(in_force.version)
            simulated = simulate(events, in_force.policy)
            assert simulated.requests == len({event.id for event in events})
            assert simulated.changed == 0
            assert simulated.examples == ()
            assert simulated.reviews == simulated.reviews_before
            for cell in simulated.matrix:
                # What people decided stays theirs, and nothing else goes to them.
                is_theirs = cell.was not in (Was.APPROVED_AT_ONCE, Was.DENIED_AT_ONCE)
                assert is_theirs == (cell.would_be in FOR_PEOPLE)

    @given(histories(versions=1))
    def test_no_more_second_opinions_than_foreseen(self, history: History) -> None:
        simulated = simulate(history.events, history.policies[0].policy)
        assert simulated.second_opinions_before.total <= simulated.second_opinions.total

    @given(histories(), policies())
    def test_who_worked_on_a_request_makes_no_difference(
        self, history: History, policy: Policy
    ) -> None:
        others = [event for event in history.events if not isinstance(event, RequestClaimed)]
        assert simulate(history.events, policy) == simulate(others, policy)

    @given(histories(), policies())
    def test_agrees_with_each_request_on_its_own(self, history: History, policy: Policy) -> None:
        expected = Counter(
            (was(state), would_be(state, policy))
            for events in history.of_each().values()
            if (state := fold(events)).application
        )
        simulated = simulate(history.events, policy)
        assert {(cell.was, cell.would_be): cell.count for cell in simulated.matrix} == expected
        assert simulated.changed == sum(
            count for outcomes, count in expected.items() if is_changed(*outcomes)
        )
        assert len(simulated.examples) == min(simulated.changed, MOST_EXAMPLES)


def was(state: LoanRequest) -> Was:
    match state.status, state.decision:
        case Status.RECEIVED, None:
            return Was.NOT_SCORED
        case Status.UNDER_REVIEW, None:
            return Was.UNDER_REVIEW
        case Status.APPROVED, decision if decision and decision.decided_by:
            return Was.APPROVED_BY_PEOPLE
        case Status.DENIED, decision if decision and decision.decided_by:
            return Was.DENIED_BY_PEOPLE
        case Status.APPROVED, _:
            return Was.APPROVED_AT_ONCE
        case _:
            return Was.DENIED_AT_ONCE


def would_be(state: LoanRequest, policy: Policy) -> WouldBe:
    assert state.application is not None
    if state.credit_score is None:
        return WouldBe.NOT_SCORED
    report = CreditReport(score=state.credit_score, factors=state.factors)
    match assess(report, state.application.amount, policy):
        case Assessment.APPROVE:
            return WouldBe.APPROVED_AT_ONCE
        case Assessment.DENY:
            return WouldBe.DENIED_AT_ONCE
        case Assessment.REVIEW:
            needed = policy.needed_for_approval(state.application.amount)
            return WouldBe.FOR_ONE if needed == 1 else WouldBe.FOR_TWO


def test_two_versions_in_one_history_are_each_compared_with_what_was() -> None:
    """Version 1 sent to people what version 0 approved: under either, the other one's differ."""
    by_version_1: list[LoanEvent] = [
        requested(2, 5_000),
        CreditChecked(id=UUID(int=2), occurred_at=MONDAY, credit_score=7),
        ManualReviewRequired(
            id=UUID(int=2), occurred_at=MONDAY, name="Ann Example", national_id="000002aa",
            amount=5_000, credit_score=7, requested_at=MONDAY, policy=1,
        ),
    ]  # fmt: skip
    both = [*scored(1, 5_000, 7), *by_version_1]
    changed = {
        name: [example.id.int for example in simulate(both, policy).examples]
        for name, policy in {"version 0": VERSION_0.policy, "version 1": STRICTER}.items()
    }
    assert changed == {"version 0": [2], "version 1": [1]}


def test_memory_does_not_grow_with_the_events() -> None:
    few, many = _peak(500), _peak(4_000)
    assert many < 1.5 * few


def _peak(requests: int) -> int:
    tracemalloc.start()
    try:
        simulate(_decided(requests), STRICTER)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def _decided(requests: int) -> Iterator[LoanEvent]:
    for number in range(requests):
        yield from scored(number, 5_000, 1 + number % 10)
        if 5 <= 1 + number % 10 < 7:
            yield approved(number)
