"""Who works on a request: the use cases, with a fake of the event store.

What claims, and what decides, is in `tests/unit/loans/domain/test_claims.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid4

import pytest

from loans.adapters import codec
from loans.adapters.event_store import EventStoreUnavailable, NewerVersionNeeded
from loans.application import use_cases
from loans.application.policies import Policies
from loans.application.use_cases import Answer
from loans.domain.commands import (
    AddNote,
    ApproveLoan,
    ClaimRequest,
    DenyLoan,
    EscalateRequest,
    HandOver,
    ReleaseRequest,
    RequestLoan,
)
from loans.domain.events import (
    ClaimExtended,
    RequestClaimed,
    RequestEscalated,
    RequestHandedOver,
    RequestReleased,
)
from loans.domain.loan_request import (
    AlreadyDecided,
    ClaimedByAnother,
    ForLeads,
    LoanRequestIsGone,
    NotClaimed,
    NotUnderReview,
    OutOfDate,
    Status,
    UnknownLoanRequest,
    WhyNeeded,
)
from tests.support.fakes import AlwaysInForce, FakeCreditBureau, FakeEventStore, reservations_in
from tests.support.loans import UNDER_REVIEW_AT
from tests.support.made_up_policies import limited_to

NOW: Final = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
LEASE: Final = timedelta(minutes=10)
Act = Callable[["Desk", UUID], object]


class Desk:
    """The use cases on a fake event store, at a time that each call may say (minutes after `NOW`).

    Above `limit` it takes two people to approve.
    """

    def __init__(self, limit: int | None = None) -> None:
        self.store = FakeEventStore()
        self.policies = Policies(self.store) if limit is None else AlwaysInForce(limited_to(limit))

    def request(self, score: int | None = 5, amount: int = 5_000) -> UUID:
        command = RequestLoan(
            id=uuid4(), issued_at=NOW, name="Ann Example", national_id="123456aa", amount=amount
        )
        use_cases.request_loan(
            command,
            event_store=self.store,
            policies=self.policies,
            credit_bureau=FakeCreditBureau(score),
            # In a store of their own, so that one applicant may have several requests.
            reservations=reservations_in(FakeEventStore()),
        )
        return command.id

    def claim(self, id_: UUID, by: str = "uma", minute: float = 0, **fields: Any) -> Answer:
        command = ClaimRequest(id=id_, issued_at=at(minute), by=by, **fields)
        return use_cases.claim_request(command, event_store=self.store, policies=self.policies)

    def next_of(self, ids: list[UUID], by: str = "uma", *, as_lead: bool = False) -> Answer | None:
        return use_cases.claim_first_of(
            ids,
            by=by,
            as_lead=as_lead,
            clock=lambda: NOW,
            event_store=self.store,
            policies=self.policies,
        )

    def release(self, id_: UUID, by: str = "uma", minute: float = 0) -> Answer:
        command = ReleaseRequest(id=id_, issued_at=at(minute), by=by)
        return use_cases.release_request(command, event_store=self.store, policies=self.policies)

    def hand_over(
        self, id_: UUID, by: str = "uma", to: str = "ursula", minute: float = 0, **fields: Any
    ) -> Answer:
        command = HandOver(id=id_, issued_at=at(minute), by=by, to=to, **fields)
        return use_cases.hand_over(command, event_store=self.store, policies=self.policies)

    def escalate(self, id_: UUID, by: str = "uma", minute: float = 0) -> Answer:
        command = EscalateRequest(id=id_, issued_at=at(minute), by=by, why="Too large for me.")
        return use_cases.escalate_request(command, event_store=self.store, policies=self.policies)

    def note(self, id_: UUID, by: str = "uma") -> Answer:
        command = AddNote(id=id_, issued_at=NOW, by=by, text="Called, no answer.")
        return use_cases.add_note(command, event_store=self.store)

    def approve(
        self, id_: UUID, by: str = "uma", minute: float = 0, shown: int | None = None, **fields: Any
    ) -> Answer:
        command = ApproveLoan(
            id=id_, issued_at=at(minute), decided_by=by, shown_revision=shown, **fields
        )
        return use_cases.approve_loan(command, event_store=self.store, policies=self.policies)

    def deny(
        self, id_: UUID, by: str = "uma", minute: float = 0, shown: int | None = None
    ) -> Answer:
        command = DenyLoan(
            id=id_,
            issued_at=at(minute),
            decided_by=by,
            shown_revision=shown,
            reasons=("too_much_debt",),
        )
        return use_cases.deny_loan(command, event_store=self.store, policies=self.policies)

    def types(self, id_: UUID) -> list[type[Any]]:
        """The types of the events since the request came to be reviewed."""
        return [type(event) for event in self.store.events_of(id_)[UNDER_REVIEW_AT + 1 :]]


def at(minute: float) -> datetime:
    return NOW + timedelta(minutes=minute)


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def id_(desk: Desk) -> UUID:
    """A request under review."""
    return desk.request()


class TestAClaim:
    def test_is_answered_with_whose_it_is(self, desk: Desk, id_: UUID) -> None:
        claim = desk.claim(id_).state.claim
        assert claim is not None
        assert (claim.by, claim.until) == ("uma", NOW + LEASE)

    def test_is_gone_on_with_in_its_second_half(self, desk: Desk, id_: UUID) -> None:
        for minute in (0, 1, 4, 6, 8, 12):
            desk.claim(id_, minute=minute)
        assert desk.types(id_) == [RequestClaimed, ClaimExtended, ClaimExtended]

    def test_is_free_for_others_once_it_has_run_out(self, desk: Desk, id_: UUID) -> None:
        desk.claim(id_)
        with pytest.raises(ClaimedByAnother):
            desk.claim(id_, "ursula", 9.9)
        assert desk.types(id_) == [RequestClaimed]
        assert desk.claim(id_, "ursula", 10).state.held_at(at(11)) is not None

    def test_of_two_at_once_the_later_is_told_who_was_first(self, desk: Desk, id_: UUID) -> None:
        desk.store.before_append.append(lambda: desk.claim(id_, "ursula"))
        with pytest.raises(ClaimedByAnother, match="ursula works on this loan request until"):
            desk.claim(id_)
        assert desk.types(id_) == [RequestClaimed]

    def test_that_comes_after_a_decision_is_refused(self, desk: Desk, id_: UUID) -> None:
        desk.store.before_append.append(lambda: desk.approve(id_, "ursula"))
        with pytest.raises(AlreadyDecided):
            desk.claim(id_)

    @pytest.mark.parametrize("decide", [Desk.approve, Desk.deny])
    def test_keeps_others_from_deciding(self, desk: Desk, id_: UUID, decide: Act) -> None:
        desk.store.before_append.append(lambda: desk.claim(id_, "ursula"))
        with pytest.raises(ClaimedByAnother, match="ursula"):
            decide(desk, id_)
        assert desk.types(id_) == [RequestClaimed]

    def test_of_what_is_not_there(self, desk: Desk) -> None:
        with pytest.raises(UnknownLoanRequest):
            desk.claim(uuid4())

    def test_of_what_is_not_scored(self, desk: Desk) -> None:
        with pytest.raises(NotUnderReview):
            desk.claim(desk.request(score=None))

    def test_of_what_was_deleted(self, desk: Desk, id_: UUID) -> None:
        desk.store.gone.add(codec.stream_name(id_))
        with pytest.raises(LoanRequestIsGone):
            desk.claim(id_)

    def test_without_the_event_store_is_not_made(self, desk: Desk, id_: UUID) -> None:
        desk.store.is_away = True
        with pytest.raises(EventStoreUnavailable):
            desk.claim(id_)
        desk.store.is_away = False
        assert desk.types(id_) == []


class TestLettingGo:
    def test_leaves_it_to_others(self, desk: Desk, id_: UUID) -> None:
        desk.claim(id_)
        assert desk.release(id_, minute=1).state.claim is None
        assert desk.claim(id_, "ursula", 1).state.claim is not None

    def test_of_what_one_does_not_hold_does_nothing(self, desk: Desk, id_: UUID) -> None:
        desk.claim(id_, "ursula")
        assert desk.release(id_).state.claim is not None
        assert desk.types(id_) == [RequestClaimed]

    def test_lets_go_of_no_claim_that_somebody_else_has_made_since(
        self, desk: Desk, id_: UUID
    ) -> None:
        desk.claim(id_)
        desk.store.before_append.append(lambda: desk.claim(id_, "ursula", 10))
        assert desk.release(id_, minute=9.9).state.claim is not None
        assert desk.types(id_) == [RequestClaimed, RequestClaimed]


class TestHandingOver:
    def test_is_for_hours(self, desk: Desk, id_: UUID) -> None:
        desk.claim(id_)
        claim = desk.hand_over(id_, minute=1).state.claim
        assert claim is not None
        assert (claim.by, claim.until) == ("ursula", at(1) + timedelta(hours=4))
        with pytest.raises(ClaimedByAnother):
            desk.approve(id_, minute=60)
        assert desk.approve(id_, "ursula", 60).status is Status.APPROVED

    def test_of_what_has_run_out_meanwhile(self, desk: Desk, id_: UUID) -> None:
        desk.claim(id_)
        with pytest.raises(NotClaimed):
            desk.hand_over(id_, minute=10)

    def test_twice_is_once(self, desk: Desk, id_: UUID) -> None:
        desk.claim(id_)
        first, again = (desk.hand_over(id_, minute=minute) for minute in (1, 1.01))
        assert again == first
        assert desk.types(id_) == [RequestClaimed, RequestHandedOver]

    def test_against_going_on_the_later_is_told_who_has_it(self, desk: Desk, id_: UUID) -> None:
        desk.claim(id_)
        desk.store.before_append.append(lambda: desk.hand_over(id_, minute=6))
        with pytest.raises(ClaimedByAnother, match="ursula"):
            desk.claim(id_, minute=6)
        assert desk.types(id_) == [RequestClaimed, RequestHandedOver]

    def test_goes_through_though_it_was_gone_on_with(self, desk: Desk, id_: UUID) -> None:
        desk.claim(id_)
        desk.store.before_append.append(lambda: desk.claim(id_, minute=6))
        desk.hand_over(id_, minute=6)
        assert desk.types(id_) == [RequestClaimed, ClaimExtended, RequestHandedOver]

    def test_by_a_lead_says_why(self, desk: Desk, id_: UUID) -> None:
        desk.claim(id_)
        with pytest.raises(WhyNeeded):
            desk.hand_over(id_, "ulf", as_lead=True)
        claim = desk.hand_over(id_, "ulf", as_lead=True, why="Uma is ill.").state.claim
        assert claim is not None
        assert claim.by == "ursula"


class TestEscalating:
    def test_leaves_it_to_the_leads(self, desk: Desk, id_: UUID) -> None:
        desk.claim(id_)
        assert desk.escalate(id_).state.is_escalated
        for act in (desk.claim, desk.approve, desk.deny):
            with pytest.raises(ForLeads):
                act(id_, minute=1)
        assert desk.approve(id_, "ulf", as_lead=True).status is Status.APPROVED

    def test_twice_is_once(self, desk: Desk, id_: UUID) -> None:
        desk.escalate(id_)
        desk.store.before_append.append(lambda: pytest.fail("nothing is appended"))
        assert desk.escalate(id_, "ursula", 1).state.is_escalated


class TestTheNext:
    def test_is_the_first_that_can_be_claimed(self, desk: Desk) -> None:
        decided, taken, free, later = (desk.request() for _ in range(4))
        desk.approve(decided, "ursula")
        desk.claim(taken, "ursula")
        answer = desk.next_of([uuid4(), desk.request(score=None), decided, taken, free, later])
        assert answer is not None
        assert answer.loan_request_id == free
        assert desk.types(free) == [RequestClaimed]
        assert desk.types(later) == []

    def test_is_not_one_on_which_an_opinion_was_given(self) -> None:
        desk = Desk(limit=1_000)
        voted, other = desk.request(), desk.request()
        desk.approve(voted)
        answers = desk.next_of([voted, other]), desk.next_of([voted, other], "ursula")
        assert [answer and answer.loan_request_id for answer in answers] == [other, voted]

    def test_is_for_leads_what_was_left_to_them(self, desk: Desk, id_: UUID) -> None:
        desk.escalate(id_)
        assert desk.next_of([id_]) is None
        assert desk.next_of([id_], "ulf", as_lead=True) is not None

    def test_is_none_where_others_were_quicker(self, desk: Desk, id_: UUID) -> None:
        desk.store.before_append.append(lambda: desk.claim(id_, "ursula"))
        assert desk.next_of([id_]) is None
        assert desk.next_of([]) is None

    def test_pressed_twice_is_the_same(self, desk: Desk) -> None:
        ids = [desk.request(), desk.request()]
        first, again = desk.next_of(ids), desk.next_of(ids)
        assert again == first
        assert desk.types(ids[1]) == []

    def test_leaves_out_what_was_deleted(self, desk: Desk, id_: UUID) -> None:
        gone = desk.request()
        desk.store.gone.add(codec.stream_name(gone))
        answer = desk.next_of([gone, id_])
        assert answer is not None
        assert answer.loan_request_id == id_

    def test_leaves_out_what_only_a_newer_version_can_read(self, desk: Desk) -> None:
        newer, known = desk.request(), desk.request()
        desk.store.newer.add(codec.stream_name(newer))
        with pytest.raises(NewerVersionNeeded):
            desk.claim(newer)
        answer = desk.next_of([newer, known])
        assert answer is not None
        assert answer.loan_request_id == known

    def test_without_the_event_store_is_an_error_and_not_none(self, desk: Desk, id_: UUID) -> None:
        desk.store.is_away = True
        with pytest.raises(EventStoreUnavailable):
            desk.next_of([id_])


class TestAScreen:
    """It shows a revision. What was done since may be what a decision depends on, or not."""

    @pytest.mark.parametrize("decide", [Desk.approve, Desk.deny])
    def test_is_not_out_of_date_by_who_works_on_the_request(
        self, desk: Desk, id_: UUID, decide: Any
    ) -> None:
        desk.claim(id_, "ursula")
        desk.hand_over(id_, "ursula", "uma", minute=1)
        desk.release(id_, minute=2)
        desk.claim(id_, minute=3)
        desk.claim(id_, minute=9)
        assert desk.types(id_) == [
            RequestClaimed,
            RequestHandedOver,
            RequestReleased,
            RequestClaimed,
            ClaimExtended,
        ]
        answer = decide(desk, id_, minute=10, shown=UNDER_REVIEW_AT)
        assert answer.revision == UNDER_REVIEW_AT + 6

    @pytest.mark.parametrize("shown", [UNDER_REVIEW_AT + 1, UNDER_REVIEW_AT + 2])
    def test_may_show_any_of_them(self, desk: Desk, id_: UUID, shown: int) -> None:
        desk.claim(id_)
        desk.claim(id_, minute=9)
        assert desk.approve(id_, shown=shown).status is Status.APPROVED

    @pytest.mark.parametrize("shown", [UNDER_REVIEW_AT - 1, UNDER_REVIEW_AT + 2, 1_000])
    def test_that_shows_no_revision_that_there_is_to_decide_on(
        self, desk: Desk, id_: UUID, shown: int
    ) -> None:
        desk.claim(id_)
        with pytest.raises(OutOfDate) as refused:
            desk.approve(id_, shown=shown)
        assert refused.value.revision == UNDER_REVIEW_AT + 1

    def test_is_out_of_date_by_a_note(self, desk: Desk, id_: UUID) -> None:
        desk.note(id_, "ursula")
        desk.claim(id_)
        self.is_out_of_date(desk, id_)

    def test_is_out_of_date_by_an_escalation(self, desk: Desk, id_: UUID) -> None:
        desk.escalate(id_, "ursula")
        desk.claim(id_, as_lead=True)
        self.is_out_of_date(desk, id_, as_lead=True)

    def test_is_out_of_date_by_an_opinion(self) -> None:
        desk = Desk(limit=1_000)
        id_ = desk.request()
        desk.approve(id_, "ursula")
        desk.claim(id_)
        self.is_out_of_date(desk, id_)

    def is_out_of_date(self, desk: Desk, id_: UUID, **fields: Any) -> None:
        with pytest.raises(OutOfDate):
            desk.approve(id_, shown=UNDER_REVIEW_AT, **fields)
        # As soon as it shows what matters, it may lack the claim.
        answer = desk.approve(id_, shown=UNDER_REVIEW_AT + 1, **fields)
        assert answer.status is Status.APPROVED

    def test_is_out_of_date_by_a_note_at_the_same_moment(self, desk: Desk, id_: UUID) -> None:
        desk.store.before_append.append(lambda: desk.note(id_, "ursula"))
        with pytest.raises(OutOfDate):
            desk.approve(id_, shown=UNDER_REVIEW_AT)

    def test_is_not_out_of_date_by_ones_own_claim_at_the_same_moment(
        self, desk: Desk, id_: UUID
    ) -> None:
        desk.store.before_append.append(lambda: desk.claim(id_))
        assert desk.approve(id_, shown=UNDER_REVIEW_AT).status is Status.APPROVED

    def test_is_told_who_has_it_before_that_it_is_old(self, desk: Desk, id_: UUID) -> None:
        desk.note(id_, "ursula")
        desk.claim(id_, "ursula")
        with pytest.raises(ClaimedByAnother):
            desk.approve(id_, shown=UNDER_REVIEW_AT)


class TestWhatIsSentAgain:
    """The answer is that of the first time, though others have acted since."""

    @pytest.mark.parametrize(
        ("act", "others"),
        [
            (Desk.claim, [lambda desk, id_: desk.release(id_, minute=1)]),
            (Desk.claim, [lambda desk, id_: desk.claim(id_, "ursula", 10)]),
            (Desk.claim, [lambda desk, id_: desk.approve(id_, minute=1)]),
            (Desk.escalate, [lambda desk, id_: desk.approve(id_, "ulf", as_lead=True)]),
            (Desk.approve, [lambda desk, id_: desk.note(id_, "ursula")]),
        ],
        ids=["released", "run out", "decided", "decided by a lead", "noted"],
    )
    def test_is_answered_as_the_first_time(
        self, desk: Desk, id_: UUID, act: Any, others: list[Act]
    ) -> None:
        first = act(desk, id_)
        for each in others:
            each(desk, id_)
        count = len(desk.store.event_ids)
        assert act(desk, id_) == first
        assert len(desk.store.event_ids) == count

    def test_so_is_a_release(self, desk: Desk, id_: UUID) -> None:
        desk.claim(id_)
        first = desk.release(id_, minute=1)
        desk.claim(id_, minute=1)
        assert desk.release(id_, minute=1) == first
        assert desk.types(id_) == [RequestClaimed, RequestReleased, RequestClaimed]

    def test_so_is_what_was_handed_over(self, desk: Desk, id_: UUID) -> None:
        desk.claim(id_)
        first = desk.hand_over(id_, minute=1)
        desk.hand_over(id_, "ursula", "uma", minute=1)
        assert desk.hand_over(id_, minute=1) == first
        assert desk.types(id_) == [RequestClaimed, RequestHandedOver, RequestHandedOver]


def test_the_names_of_those_who_act_are_in_the_metadata(desk: Desk, id_: UUID) -> None:
    users: list[str] = []
    append = desk.store.append

    def noting_user(*arguments: Any, user: str, **options: Any) -> int:
        users.append(user)
        return append(*arguments, user=user, **options)

    desk.store.append = noting_user  # type: ignore[method-assign]
    desk.claim(id_)
    desk.hand_over(id_, "ulf", as_lead=True, why="Uma is ill.")
    desk.escalate(id_, "ursula")
    assert users == ["uma", "ulf", "ursula"]
    assert desk.types(id_) == [RequestClaimed, RequestHandedOver, RequestEscalated]
