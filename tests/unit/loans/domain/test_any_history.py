"""Whatever is sent, by whomever, under changing policies: what holds for every loan request.

It grows with the decider: each new command is a rule here.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from loans.domain.commands import (
    AddNote,
    ApproveLoan,
    ClaimRequest,
    DenyLoan,
    EscalateRequest,
    HandOver,
    LoanCommand,
    ParkCreditCheck,
    RecordCreditScore,
    ReleaseRequest,
    RequestLoan,
)
from loans.domain.credit_report import CreditReport
from loans.domain.events import (
    ApprovalProposed,
    AutoApproved,
    AutoDenied,
    ClaimExtended,
    DenialProposed,
    LoanEvent,
    ManuallyApproved,
    ManuallyDenied,
    ManualReviewRequired,
    NoteAdded,
    RequestClaimed,
    RequestHandedOver,
)
from loans.domain.loan_request import INITIAL, LoanRequest, Rejection, Status, decide, evolve, fold
from loans.domain.policy import VERSION_0, Assessment, PolicyInForce, assess
from tests.support.made_up_policies import EXPLAINED, FACTORS, limited_to, version

ID = UUID("00000000-0000-4000-8000-000000000001")
ENDS = (AutoApproved, AutoDenied, ManuallyApproved, ManuallyDenied)
POLICIES = {
    each.version: each
    for each in (
        VERSION_0,
        EXPLAINED,
        limited_to(2, number=2),
        limited_to(3, number=3),
        version(4, deny_up_to=2, approve_from=9, factors=FACTORS),
        version(5, lease=timedelta(hours=6), hand_over_lease=timedelta(minutes=2)),
    )
}

REPORTS = st.builds(
    CreditReport,
    score=st.integers(1, 10),
    factors=st.lists(st.sampled_from(sorted(FACTORS)), max_size=5).map(tuple),
)
AMOUNTS = st.integers(1, 5)
LEAD = "ulf"
UNDERWRITERS = st.sampled_from(["uma", "ursula", "ulf"])
REASONS = st.sampled_from(["too_much_debt", "other", "unheard_of"])


class AnyHistory(RuleBasedStateMachine):
    """One applicant, three underwriters, and one clock that only moves on."""

    @initialize(amount=AMOUNTS)
    def begin(self, amount: int) -> None:
        self.amount = amount
        self.now = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
        self.in_force = VERSION_0
        self.events: list[LoanEvent] = []
        self.state = INITIAL

    @rule(number=st.sampled_from(sorted(POLICIES)))
    def the_policy_changes(self, number: int) -> None:
        self.in_force = POLICIES[number]

    @rule(report=REPORTS | st.none())
    def apply(self, report: CreditReport | None) -> None:
        self.give(
            RequestLoan,
            name="Ann",
            national_id="123456aa",
            amount=self.amount,
            credit_report=report,
        )

    @rule(report=REPORTS)
    def score(self, report: CreditReport) -> None:
        self.give(RecordCreditScore, credit_report=report)

    @rule(reason=st.sampled_from(["timed out", "answered 500"]))
    def park(self, reason: str) -> None:
        self.give(ParkCreditCheck, reason=reason, attempts=24)

    @rule(minutes=st.integers(1, 300))
    def time_passes(self, minutes: int) -> None:
        self.now += timedelta(minutes=minutes)

    @rule(by=UNDERWRITERS, as_next=st.booleans())
    def claim(self, by: str, as_next: bool) -> None:
        self.give(ClaimRequest, by=by, as_lead=by == LEAD, as_next=as_next)

    @rule(by=UNDERWRITERS)
    def release(self, by: str) -> None:
        self.give(ReleaseRequest, by=by)

    @rule(by=UNDERWRITERS, to=UNDERWRITERS, why=st.sampled_from(["", "Lunch."]))
    def hand_over(self, by: str, to: str, why: str) -> None:
        self.give(HandOver, by=by, to=to, as_lead=by == LEAD, to_lead=to == LEAD, why=why)

    @rule(by=UNDERWRITERS)
    def escalate(self, by: str) -> None:
        self.give(EscalateRequest, by=by, why="Too large for me.")

    @rule(by=UNDERWRITERS, note=st.sampled_from(["", "Fine."]))
    def approve(self, by: str, note: str) -> None:
        self.give(ApproveLoan, decided_by=by, as_lead=by == LEAD, note=note)

    @rule(by=UNDERWRITERS, reasons=st.sets(REASONS, min_size=1), text=st.booleans())
    def deny(self, by: str, reasons: set[str], text: bool) -> None:
        said = "You have moved away." if text and "other" in reasons else ""
        self.give(
            DenyLoan,
            decided_by=by,
            as_lead=by == LEAD,
            reasons=tuple(sorted(reasons)),
            reason_text=said,
        )

    @rule(by=UNDERWRITERS, text=st.sampled_from(["Called.", "Called again."]))
    def note(self, by: str, text: str) -> None:
        self.give(AddNote, by=by, text=text)

    def give(self, command_class: type[LoanCommand], **fields: Any) -> None:
        self.now += timedelta(minutes=1)
        command = command_class(id=ID, issued_at=self.now, **fields)
        before = self.state
        try:
            new = decide(command, before, self.in_force)
        except Rejection:
            return
        for event in new:
            self.check(event, before)
            self.events.append(event)
            self.state = evolve(self.state, event)
        assert decide(command, self.state, self.in_force) == [], "a second time, nothing happens"
        types = [type(event) for event in new]
        assert len(set(types)) == len(types), "event ids are made of a command and a type"

    def check(self, event: LoanEvent, before: LoanRequest) -> None:
        self.check_claim(event, before)
        if isinstance(event, (*ENDS, ManualReviewRequired, ApprovalProposed, DenialProposed)):
            assert event.policy == self.in_force.version
        if isinstance(event, ManuallyApproved):
            people = {event.decided_by, *event.together_with}
            assert len(people) == 1 + len(event.together_with), "nobody counts twice"
            assert len(people) >= self.in_force.policy.needed_for_approval(self.amount)
        if isinstance(event, ManuallyDenied):
            others_for_it = before.others(event.decided_by, Status.APPROVED)
            assert event.together_with or not others_for_it
            assert event.reasons

    def check_claim(self, event: LoanEvent, before: LoanRequest) -> None:
        by = _acting(event)
        if by is None:
            return
        held = before.held_at(event.occurred_at)
        is_given_away = isinstance(event, RequestHandedOver) and by == LEAD and event.why
        assert held is None or held.by == by or is_given_away, "nobody acts on what another holds"
        assert by == LEAD or not before.is_escalated, "only leads act on what was left to them"
        if isinstance(event, RequestClaimed | RequestHandedOver):
            assert event.until > event.occurred_at
        if isinstance(event, ClaimExtended):
            assert held is not None
            assert event.until > held.until, "going on with a claim never makes it shorter"

    @invariant()
    def there_is_one_end_at_most(self) -> None:
        ends = [event for event in self.events if isinstance(event, ENDS)]
        assert len(ends) <= 1
        assert (self.state.decision is not None) == bool(ends)
        after_it = self.events[self.events.index(ends[0]) + 1 :] if ends else []
        assert all(isinstance(event, NoteAdded) for event in after_it), "only notes follow the end"

    @invariant()
    def a_prefix_and_the_rest_make_the_whole(self) -> None:
        for cut in range(len(self.events) + 1):
            assert fold(self.events[cut:], fold(self.events[:cut])) == self.state
        assert fold(self.events) == self.state

    @invariant()
    def what_the_rules_decided_they_would_decide_again(self) -> None:
        for event in self.events:
            if isinstance(event, AutoApproved | AutoDenied):
                expected = (
                    Assessment.APPROVE if isinstance(event, AutoApproved) else Assessment.DENY
                )
                assert self.assessed_by(POLICIES[event.policy]) is expected
            if isinstance(event, ManualReviewRequired):
                assert self.assessed_by(POLICIES[event.policy]) is Assessment.REVIEW

    def assessed_by(self, in_force: PolicyInForce) -> Assessment:
        assert self.state.credit_score is not None
        report = CreditReport(score=self.state.credit_score, factors=self.state.factors)
        return assess(report, self.amount, in_force.policy)


def _acting(event: LoanEvent) -> str | None:
    """The underwriter who acts on a request; whoever only notes something does not."""
    if isinstance(event, ManuallyApproved | ManuallyDenied):
        return event.decided_by
    return None if isinstance(event, NoteAdded) else getattr(event, "by", None)


TestAnyHistory = AnyHistory.TestCase
