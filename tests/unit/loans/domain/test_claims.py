"""Who works on a request: given / when / then."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from loans.domain.commands import (
    AddNote,
    ApproveLoan,
    ClaimRequest,
    DenyLoan,
    EscalateRequest,
    HandOver,
    LoanCommand,
    ReleaseRequest,
)
from loans.domain.events import (
    ApprovalProposed,
    ClaimExtended,
    LoanEvent,
    ManuallyApproved,
    NoteAdded,
    RequestClaimed,
    RequestEscalated,
    RequestHandedOver,
    RequestReleased,
)
from loans.domain.loan_request import (
    AlreadyDecided,
    ClaimedByAnother,
    ForLeads,
    NotClaimed,
    NotUnderReview,
    OpinionGiven,
    UnknownLoanRequest,
    WhyNeeded,
    fold,
)
from tests.support.given import Given, given
from tests.support.made_up_policies import version
from tests.support.sample_events import (
    APPROVED,
    APPROVED_BY_HAND,
    CHECKED,
    DENIED_BY_HAND,
    ESCALATED,
    FOR,
    ID,
    LAPSED,
    LATER,
    PARKED,
    REQUESTED,
    REVIEW,
)

WAITING: tuple[LoanEvent, ...] = (REQUESTED, CHECKED, REVIEW)
LEASE, HAND_OVER_LEASE = timedelta(minutes=10), timedelta(hours=4)
POLICY = version(3, lease=LEASE, hand_over_lease=HAND_OVER_LEASE)


def at(minute: float) -> datetime:
    return LATER + timedelta(minutes=minute)


def waiting(*events: LoanEvent) -> Given:
    return given(*WAITING, *events).under(POLICY)


def claim(by: str, minute: float = 0, **fields: Any) -> ClaimRequest:
    return ClaimRequest(id=ID, issued_at=at(minute), by=by, **fields)


def release(by: str, minute: float = 0) -> ReleaseRequest:
    return ReleaseRequest(id=ID, issued_at=at(minute), by=by)


def hand_over(by: str, to: str, minute: float = 0, **fields: Any) -> HandOver:
    return HandOver(id=ID, issued_at=at(minute), by=by, to=to, **fields)


def escalate(by: str, minute: float = 0) -> EscalateRequest:
    return EscalateRequest(id=ID, issued_at=at(minute), by=by, why="Too large for me.")


def approve(by: str, minute: float = 0, **fields: Any) -> ApproveLoan:
    return ApproveLoan(id=ID, issued_at=at(minute), decided_by=by, **fields)


def deny(by: str, minute: float = 0, **fields: Any) -> DenyLoan:
    return DenyLoan(
        id=ID, issued_at=at(minute), decided_by=by, reasons=("too_much_debt",), **fields
    )


def claimed(by: str, minute: float = 0) -> RequestClaimed:
    return RequestClaimed(id=ID, occurred_at=at(minute), by=by, until=at(minute) + LEASE)


def extended(by: str, minute: float) -> ClaimExtended:
    return ClaimExtended(id=ID, occurred_at=at(minute), by=by, until=at(minute) + LEASE)


def handed_over(by: str, to: str, minute: float = 0, why: str = "") -> RequestHandedOver:
    until = at(minute) + HAND_OVER_LEASE
    return RequestHandedOver(id=ID, occurred_at=at(minute), by=by, to=to, until=until, why=why)


def released(by: str, minute: float = 0) -> RequestReleased:
    return RequestReleased(id=ID, occurred_at=at(minute), by=by)


class TestClaiming:
    def test_what_nobody_holds(self) -> None:
        waiting().when(claim("uma")).then(claimed("uma"))

    @pytest.mark.parametrize("minute", [0, 1, 4.99])
    def test_ones_own_with_more_than_half_of_the_time_left(self, minute: float) -> None:
        waiting(claimed("uma")).when(claim("uma", minute)).then_nothing()

    @pytest.mark.parametrize("minute", [5, 7, 9.99])
    def test_ones_own_with_half_of_the_time_left_or_less(self, minute: float) -> None:
        waiting(claimed("uma")).when(claim("uma", minute)).then(extended("uma", minute))

    def test_ones_own_that_has_run_out(self) -> None:
        waiting(claimed("uma")).when(claim("uma", 10)).then(claimed("uma", 10))

    def test_what_another_holds(self) -> None:
        refused = waiting(claimed("uma")).when(claim("ursula", 9.99))
        refused.then_rejected(ClaimedByAnother, "uma works on this loan request until")

    def test_what_another_has_held(self) -> None:
        waiting(claimed("uma")).when(claim("ursula", 10)).then(claimed("ursula", 10))

    def test_what_another_holds_for_longer(self) -> None:
        events = claimed("uma"), extended("uma", 6)
        waiting(*events).when(claim("ursula", 15)).then_rejected(ClaimedByAnother)
        waiting(*events).when(claim("ursula", 16)).then(claimed("ursula", 16))

    def test_what_another_has_released(self) -> None:
        events = claimed("uma"), released("uma", 1)
        waiting(*events).when(claim("ursula", 2)).then(claimed("ursula", 2))

    def test_a_claim_of_hours_is_not_cut_to_minutes(self) -> None:
        waiting(handed_over("uma", "ursula")).when(claim("ursula", 200)).then_nothing()

    @pytest.mark.parametrize(
        ("events", "rejection"),
        [
            ((), UnknownLoanRequest),
            ((LAPSED,), UnknownLoanRequest),
            ((REQUESTED,), NotUnderReview),
            ((REQUESTED, PARKED), NotUnderReview),
            ((REQUESTED, CHECKED, APPROVED), AlreadyDecided),
            ((*WAITING, APPROVED_BY_HAND), AlreadyDecided),
            ((*WAITING, DENIED_BY_HAND), AlreadyDecided),
        ],
    )
    @pytest.mark.parametrize(
        "command",
        [claim("ulf"), hand_over("ulf", "una", as_lead=True), escalate("ulf")],
        ids=["claim", "hand over", "escalate"],
    )
    def test_what_is_not_under_review(
        self, events: tuple[LoanEvent, ...], rejection: type[Any], command: LoanCommand
    ) -> None:
        given(*events).when(command).then_rejected(rejection)


class TestALeaseThatHasChanged:
    """A claim holds as long as was said when it was made; going on with it is by the new lease."""

    @pytest.mark.parametrize("lease", [timedelta(seconds=1), timedelta(hours=1)])
    def test_others_wait_as_long_as_was_said(self, lease: timedelta) -> None:
        held = given(*WAITING, claimed("uma")).under(version(4, lease=lease))
        held.when(claim("ursula", 9.99)).then_rejected(ClaimedByAnother)
        taken = RequestClaimed(id=ID, occurred_at=at(10), by="ursula", until=at(10) + lease)
        held.when(claim("ursula", 10)).then(taken)

    def test_a_longer_one_holds_from_the_next_time(self) -> None:
        lease = timedelta(hours=1)
        longer = ClaimExtended(id=ID, occurred_at=at(1), by="uma", until=at(1) + lease)
        held = given(*WAITING, claimed("uma")).under(version(4, lease=lease))
        held.when(claim("uma", 1)).then(longer)

    def test_a_shorter_one_takes_nothing_away(self) -> None:
        lease = timedelta(minutes=2)
        held = given(*WAITING, claimed("uma")).under(version(4, lease=lease))
        held.when(claim("uma", 8)).then_nothing()
        later = ClaimExtended(id=ID, occurred_at=at(9), by="uma", until=at(9) + lease)
        held.when(claim("uma", 9)).then(later)


class TestClocksThatAreApart:
    """A clock that is slow by some minutes makes a lease longer by them, a fast one shorter."""

    def test_the_holder_by_a_slow_clock(self) -> None:
        held = waiting(claimed("uma"))
        held.when(claim("uma", -3)).then_nothing()
        held.when(release("uma", -3)).then(released("uma", -3))
        approved = ManuallyApproved(id=ID, occurred_at=at(-3), decided_by="uma", policy=3)
        held.when(approve("uma", -3)).then(approved)

    def test_others_by_a_slow_clock(self) -> None:
        waiting(claimed("uma")).when(claim("ursula", -3)).then_rejected(ClaimedByAnother)
        waiting(claimed("uma")).when(approve("ursula", -3)).then_rejected(ClaimedByAnother)

    def test_whoever_was_overtaken_by_a_fast_clock(self) -> None:
        held = waiting(claimed("uma"), claimed("ursula", 10))
        for command in (claim("uma", 7), approve("uma", 7), hand_over("uma", "ulf", 7)):
            held.when(command).then_rejected(ClaimedByAnother, "ursula")
        held.when(release("uma", 7)).then_nothing()


class TestTheNext:
    def test_is_not_one_on_which_an_opinion_was_given(self) -> None:
        waiting(FOR).when(claim("uma", as_next=True)).then_rejected(OpinionGiven)
        waiting(FOR).when(claim("ulf", as_next=True)).then(claimed("ulf"))

    def test_may_be_claimed_by_name_all_the_same(self) -> None:
        waiting(FOR).when(claim("uma")).then(claimed("uma"))


class TestReleasing:
    def test_ones_own(self) -> None:
        waiting(claimed("uma")).when(release("uma", 1)).then(released("uma", 1))

    @pytest.mark.parametrize(
        ("events", "command"),
        [
            ((), release("uma")),
            ((claimed("uma"),), release("ursula")),
            ((claimed("uma"),), release("uma", 10)),
            ((claimed("uma"), released("uma", 1)), release("uma", 2)),
            ((claimed("uma"), APPROVED_BY_HAND), release("uma", 2)),
        ],
        ids=["unclaimed", "another's", "run out", "released", "decided"],
    )
    def test_nothing(self, events: tuple[LoanEvent, ...], command: LoanCommand) -> None:
        waiting(*events).when(command).then_nothing()

    def test_what_does_not_exist(self) -> None:
        given().when(release("uma")).then_rejected(UnknownLoanRequest)


class TestHandingOver:
    def test_ones_own(self) -> None:
        handing = waiting(claimed("uma")).when(hand_over("uma", "ursula", 1))
        handing.then(handed_over("uma", "ursula", 1))

    def test_as_a_lead_who_says_why(self) -> None:
        command = hand_over("ulf", "ursula", 1, as_lead=True, why="Uma is ill.")
        expected = handed_over("ulf", "ursula", 1, why="Uma is ill.")
        waiting(claimed("uma")).when(command).then(expected)

    def test_to_oneself_as_a_lead(self) -> None:
        command = hand_over("ulf", "ulf", 1, as_lead=True, why="Uma is ill.")
        waiting(claimed("uma")).when(command).then(handed_over("ulf", "ulf", 1, "Uma is ill."))

    def test_as_a_lead_who_does_not_say_why(self) -> None:
        refused = waiting(claimed("uma")).when(hand_over("ulf", "ursula", 1, as_lead=True))
        refused.then_rejected(WhyNeeded)

    @pytest.mark.parametrize("to", ["ursula", "ulf"])
    def test_anothers(self, to: str) -> None:
        refused = waiting(claimed("uma")).when(hand_over("ursula", to, 1))
        # To whom makes no difference.
        refused.then_rejected(ClaimedByAnother)

    @pytest.mark.parametrize("by", ["uma", "ursula"])
    def test_to_whom_holds_it(self, by: str) -> None:
        waiting(claimed("uma")).when(hand_over(by, "uma", 1)).then_nothing()

    def test_what_nobody_holds(self) -> None:
        waiting().when(hand_over("uma", "ursula")).then_rejected(NotClaimed)
        waiting(claimed("uma")).when(hand_over("uma", "ursula", 10)).then_rejected(NotClaimed)
        waiting().when(hand_over("uma", "uma")).then_nothing()

    def test_what_nobody_holds_as_a_lead(self) -> None:
        command = hand_over("ulf", "ursula", as_lead=True)
        waiting().when(command).then(handed_over("ulf", "ursula"))

    def test_holds_for_hours(self) -> None:
        handed = waiting(handed_over("uma", "ursula"))
        handed.when(claim("uma", 239.9)).then_rejected(ClaimedByAnother, "ursula")
        handed.when(claim("uma", 240)).then(claimed("uma", 240))


class TestEscalating:
    def test_is_left_to_the_leads(self) -> None:
        escalated = RequestEscalated(id=ID, occurred_at=at(1), by="uma", why="Too large for me.")
        waiting().when(escalate("uma", 1)).then(escalated)
        waiting(claimed("uma")).when(escalate("uma", 1)).then(escalated)
        waiting(claimed("uma")).when(escalate("ursula", 1)).then_rejected(ClaimedByAnother)

    def test_lets_go_of_it(self) -> None:
        assert fold((*WAITING, claimed("uma"), ESCALATED)).claim is None

    def test_once(self) -> None:
        waiting(ESCALATED).when(escalate("ursula", 1)).then_nothing()

    @pytest.mark.parametrize("act", [claim, approve, deny])
    def test_then_only_leads_act(self, act: Any) -> None:
        waiting(ESCALATED).when(act("uma")).then_rejected(ForLeads)
        now = waiting(ESCALATED).when(act("ulf", as_lead=True))
        with pytest.raises(AssertionError):
            now.then_nothing()

    def test_then_it_is_handed_to_leads_only(self) -> None:
        held = waiting(ESCALATED, claimed("ulf"))
        held.when(hand_over("ulf", "uma", 1, as_lead=True)).then_rejected(ForLeads)
        to_a_lead = hand_over("ulf", "una", 1, as_lead=True, to_lead=True)
        held.when(to_a_lead).then(handed_over("ulf", "una", 1))

    def test_then_leads_count_as_one_person_each(self) -> None:
        limited = version(3, four_eyes_above=100, automatic_up_to=100)
        left = given(*WAITING, ESCALATED).under(limited)
        proposed = ApprovalProposed(id=ID, occurred_at=at(1), by="ulf", policy=3)
        left.when(approve("ulf", 1, as_lead=True)).then(proposed)
        second = given(*WAITING, ESCALATED, proposed).under(limited)
        second.when(approve("ulf", 2, as_lead=True)).then_nothing()
        second.when(approve("uma", 2)).then_rejected(ForLeads)
        second.when(approve("una", 2, as_lead=True)).then(
            ManuallyApproved(
                id=ID, occurred_at=at(2), decided_by="una", together_with=("ulf",), policy=3
            )
        )

    def test_then_an_opinion_from_before_still_counts(self) -> None:
        limited = version(3, four_eyes_above=100, automatic_up_to=100)
        left = given(*WAITING, FOR, ESCALATED).under(limited)
        left.when(approve("uma", 1)).then_nothing()
        left.when(deny("uma", 1)).then_rejected(ForLeads)
        left.when(approve("ulf", 1, as_lead=True)).then(
            ManuallyApproved(
                id=ID, occurred_at=at(1), decided_by="ulf", together_with=("uma",), policy=3
            )
        )


class TestDeciding:
    @pytest.mark.parametrize("decide", [approve, deny])
    def test_what_another_holds(self, decide: Any) -> None:
        refused = waiting(claimed("uma")).when(decide("ursula", 9.99))
        refused.then_rejected(ClaimedByAnother, "uma")

    def test_as_a_lead_what_another_holds(self) -> None:
        refused = waiting(claimed("uma")).when(approve("ulf", as_lead=True))
        refused.then_rejected(ClaimedByAnother)

    @pytest.mark.parametrize(
        "events", [(), (claimed("uma"),), (claimed("ursula"),)], ids=["free", "own", "run out"]
    )
    def test_what_nobody_else_holds(self, events: tuple[LoanEvent, ...]) -> None:
        approved = ManuallyApproved(id=ID, occurred_at=at(10), decided_by="uma", policy=3)
        waiting(*events).when(approve("uma", 10)).then(approved)

    def test_again_while_another_holds_it(self) -> None:
        limited = version(3, four_eyes_above=100, automatic_up_to=100)
        again = given(*WAITING, FOR, claimed("ursula")).under(limited).when(approve("uma", 1))
        again.then_nothing()

    @pytest.mark.parametrize("end", [FOR, APPROVED_BY_HAND, DENIED_BY_HAND])
    def test_lets_go_of_it(self, end: LoanEvent) -> None:
        assert fold((*WAITING, claimed("uma"), end)).claim is None

    def test_a_note_is_for_everybody(self) -> None:
        note = AddNote(id=ID, issued_at=at(1), by="ursula", text="Called.")
        added = NoteAdded(id=ID, occurred_at=at(1), by="ursula", text="Called.")
        waiting(claimed("uma")).when(note).then(added)


class TestCommandIds:
    def test_tell_who_and_when(self) -> None:
        assert claim("uma").command_id == claim("uma", as_lead=True).command_id
        ids = {
            each.command_id
            for each in (
                claim("uma"),
                claim("ursula"),
                claim("uma", 1),
                release("uma"),
                escalate("uma"),
                hand_over("uma", "ursula"),
                hand_over("uma", "ulf"),
            )
        }
        assert len(ids) == 7

    def test_a_lead_says_the_same_as_anybody(self) -> None:
        assert approve("ulf").command_id == approve("ulf", as_lead=True).command_id
