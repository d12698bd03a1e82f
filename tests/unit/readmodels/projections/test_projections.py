"""Each projection: what every event type does to its rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, ClassVar, Final, TypeVar, get_args
from uuid import UUID, uuid4

import pytest
from django.forms import model_to_dict

from loans.domain.events import (
    Event,
    LoanEvent,
    PolicyConfirmed,
    PolicyProposed,
    PolicyWithdrawn,
)
from loans.domain.lending_policy import POLICY_ID
from loans.domain.policy import Policy
from readmodels.live import broadcasts
from readmodels.models import (
    Checkpoint,
    LendingPolicy,
    LoanRequest,
    LoanStatus,
    OfOneRequest,
    ParkedCreditCheck,
    PendingRequest,
    SkippedEvent,
    Status,
)
from readmodels.projections import PROJECTIONS, Projection
from readmodels.projector.batches import Applier, Changes
from readmodels.projector.received import Received
from tests.support.loans import AT, ZOE, in_stream_of, recorded, recorded_as
from tests.support.projectors import LOANS, PARKED_CHECKS, POLICIES, QUEUE, STATUS, give
from tests.support.sample_events import (
    AGAINST,
    APPROVED,
    APPROVED_BY_HAND,
    CHECKED,
    CLAIMED,
    DENIED,
    DENIED_BY_HAND,
    ESCALATED,
    EVENTS,
    EXTENDED,
    FOR,
    HANDED_OVER,
    ID,
    LAPSED,
    LATER,
    NOTED,
    PARKED,
    RELEASED,
    REQUESTED,
    REVIEW,
)

pytestmark = pytest.mark.django_db

E = TypeVar("E", bound=Event)

OTHER_ID = uuid4()

UNCLAIMED: Final = {
    "claimed_by": "",
    "claimed_until": None,
    "escalated_by": "",
    "escalated_because": "",
}
CLAIMS: Final[tuple[tuple[tuple[LoanEvent, ...], dict[str, Any]], ...]] = (
    ((CLAIMED,), {"claimed_by": "uma", "claimed_until": CLAIMED.until}),
    ((CLAIMED, EXTENDED), {"claimed_by": "uma", "claimed_until": EXTENDED.until}),
    ((CLAIMED, HANDED_OVER), {"claimed_by": "ursula", "claimed_until": HANDED_OVER.until}),
    ((CLAIMED, RELEASED), {}),
    (
        (CLAIMED, ESCALATED),
        {"escalated_by": "uma", "escalated_because": "Too large for me."},
    ),
    # A vote lets go.
    ((CLAIMED, FOR), {"votes": 1}),
    ((CLAIMED, AGAINST), {"votes": 1}),
)

each_history_of_claims = pytest.mark.parametrize(
    ("claims", "standing"),
    CLAIMS,
    ids=[" ".join(type(each).__name__ for each in claims) for claims, _ in CLAIMS],
)


def standing_of(row: PendingRequest | LoanRequest) -> dict[str, Any]:
    """What a row says of claims, where it says anything, and how many votes it has."""
    values = {name: getattr(row, name) for name in UNCLAIMED}
    said = {name: value for name, value in values.items() if value != UNCLAIMED[name]}
    return said | ({"votes": len(row.votes)} if row.votes else {})


each_projection = pytest.mark.parametrize("projection", PROJECTIONS.values(), ids=PROJECTIONS)


def named(event: LoanEvent) -> str:
    return type(event).__name__


def is_ignored(projection: Projection, event: LoanEvent) -> bool:
    return named(event) not in projection.takes


def at_the_time(event: E, when: datetime) -> E:
    return event.model_copy(update={"occurred_at": when})


def of_another(event: LoanEvent) -> LoanEvent:
    return event.model_copy(update={"id": OTHER_ID})


class TestTheUnderwritersQueue:
    VOTE_FOR: ClassVar = {
        "by": "uma",
        "status": "approved",
        "at": LATER.isoformat(),
        "note": "fine",
        "reasons": [],
        "reason_text": "",
        "policy": 3,
    }
    VOTE_AGAINST: ClassVar = {
        "by": "ursula",
        "status": "denied",
        "at": LATER.isoformat(),
        "note": "sorry",
        "reasons": ["too_much_debt", "other"],
        "reason_text": "We know the house.",
        "policy": 3,
    }

    def test_a_request_to_review_is_in_it_with_all_that_its_event_says(self) -> None:
        review = REVIEW.model_copy(update={"factors": ("short_history",), "policy": 2})
        give(QUEUE, at_the_time(review, LATER))
        assert model_to_dict(PendingRequest.objects.get()) == {
            "id": ID,
            "name": ZOE.name,
            "national_id": ZOE.national_id,
            "amount": 5000,
            "credit_score": 6,
            "requested_at": LATER,
            "revision": 0,
            "gone_at": None,
            "applied_at": AT,
            "factors": ["short_history"],
            "policy": 2,
            "votes": [],
            "notes": 0,
            **UNCLAIMED,
        }

    def test_it_counts_the_notes_and_tells_the_underwriters(self) -> None:
        give(QUEUE, REVIEW, NOTED)
        assert changes_of(QUEUE, NOTED) == {broadcasts.UNDERWRITING: {ID}}
        assert PendingRequest.objects.get().notes == 2

    def test_a_note_on_what_has_left_it_is_told_to_nobody(self) -> None:
        give(QUEUE, REVIEW, APPROVED_BY_HAND)
        assert changes_of(QUEUE, NOTED) == {}
        assert not PendingRequest.objects.exists()

    @pytest.mark.parametrize("is_one_batch", [True, False])
    def test_it_has_the_newest_vote_of_each_underwriter(self, is_one_batch: bool) -> None:
        if is_one_batch:
            give(QUEUE, REVIEW, FOR, AGAINST, FOR)
        else:
            for event in (REVIEW, FOR, AGAINST, FOR):
                give(QUEUE, event)
        assert PendingRequest.objects.get().votes == [self.VOTE_AGAINST, self.VOTE_FOR]

    @pytest.mark.parametrize("vote", [FOR, AGAINST], ids=named)
    def test_a_vote_is_told_to_the_underwriters(self, vote: LoanEvent) -> None:
        give(QUEUE, REVIEW)
        assert changes_of(QUEUE, vote) == {broadcasts.UNDERWRITING: {ID}}

    @pytest.mark.parametrize("vote", [FOR, AGAINST], ids=named)
    def test_a_vote_brings_no_row_back_that_has_left(self, vote: LoanEvent) -> None:
        give(QUEUE, REVIEW, APPROVED_BY_HAND, vote)
        assert not PendingRequest.objects.exists()

    @pytest.mark.parametrize("decision", [APPROVED_BY_HAND, DENIED_BY_HAND], ids=named)
    def test_a_decided_request_leaves_it(self, decision: LoanEvent) -> None:
        give(QUEUE, REVIEW, of_another(REVIEW), decision)
        assert PendingRequest.objects.get().id == OTHER_ID

    @pytest.mark.parametrize(
        "event", [LAPSED, REQUESTED, PARKED, CHECKED, APPROVED, DENIED], ids=named
    )
    def test_other_events_leave_it_alone(self, event: LoanEvent) -> None:
        give(QUEUE, of_another(REVIEW))
        assert is_ignored(QUEUE, event)
        give(QUEUE, event)
        assert PendingRequest.objects.get().id == OTHER_ID

    @each_history_of_claims
    def test_it_says_who_works_on_a_request(
        self, claims: tuple[LoanEvent, ...], standing: dict[str, Any]
    ) -> None:
        give(QUEUE, REVIEW, *claims)
        assert standing_of(PendingRequest.objects.get()) == standing

    @pytest.mark.parametrize(
        "event", [CLAIMED, EXTENDED, RELEASED, HANDED_OVER, ESCALATED], ids=named
    )
    def test_a_claim_is_told_to_the_underwriters_and_brings_no_row_back(
        self, event: LoanEvent
    ) -> None:
        give(QUEUE, REVIEW)
        assert changes_of(QUEUE, event) == {broadcasts.UNDERWRITING: {ID}}
        give(QUEUE, DENIED_BY_HAND, event)
        assert not PendingRequest.objects.exists()

    def test_its_changes_are_told_to_the_underwriters(self) -> None:
        assert changes_of(QUEUE, REVIEW) == {broadcasts.UNDERWRITING: {ID}}


class TestTheApplicantsStatus:
    def expect(self, **changes: Any) -> None:
        assert model_to_dict(LoanStatus.objects.get(id=ID)) == {
            "id": ID,
            "status": Status.RECEIVED,
            "amount": 5000,
            "denial_reason": "",
            "received_at": AT,
            "delayed_at": None,
            "checked_at": None,
            "passed_on_at": None,
            "decided_at": None,
            "revision": 0,
            "gone_at": None,
            "credit_score": None,
            "policy": 0,
            "people": 0,
            "reasons": [],
            "reason_text": "",
            "awaiting": "",
            **changes,
        }

    def test_begins_with_the_request(self) -> None:
        give(STATUS, REQUESTED)
        self.expect()

    def test_tells_of_the_score_only_when_there_was_one(self) -> None:
        give(STATUS, REQUESTED, at_the_time(CHECKED, LATER))
        self.expect(checked_at=LATER, credit_score=6)

    def test_tells_that_the_score_takes_longer_and_not_why(self) -> None:
        give(STATUS, REQUESTED, at_the_time(PARKED, LATER))
        self.expect(delayed_at=LATER)

    def test_is_under_review(self) -> None:
        under_policy_2 = REVIEW.model_copy(update={"policy": 2})
        give(STATUS, REQUESTED, at_the_time(under_policy_2, LATER))
        self.expect(status=Status.UNDER_REVIEW, passed_on_at=LATER, policy=2)

    def test_tells_whose_opinion_is_awaited_and_of_nobody_who_has_given_one(self) -> None:
        give(STATUS, REQUESTED, REVIEW)
        for vote, awaiting in ((FOR, "second opinion"), (AGAINST, "third opinion")):
            give(STATUS, vote)
            self.expect(status=Status.UNDER_REVIEW, passed_on_at=AT, awaiting=awaiting)
        give(STATUS, APPROVED_BY_HAND)
        assert LoanStatus.objects.get().awaiting == ""

    def test_does_not_begin_with_an_application_that_lapsed(self) -> None:
        give(STATUS, LAPSED)
        assert not LoanStatus.objects.exists()

    @pytest.mark.parametrize(
        ("approval", "people"),
        [
            (APPROVED, 0),
            (APPROVED_BY_HAND, 1),
            (APPROVED_BY_HAND.model_copy(update={"together_with": ("una", "ulf")}), 3),
        ],
    )
    def test_is_approved(self, approval: LoanEvent, people: int) -> None:
        give(STATUS, REQUESTED, approval.model_copy(update={"policy": 2}))
        self.expect(status=Status.APPROVED, decided_at=LATER, people=people, policy=2)

    def test_is_denied(self) -> None:
        factors = ["short_history", "late_payments"]
        denied = DENIED.model_copy(update={"reasons": tuple(factors), "policy": 2})
        give(STATUS, REQUESTED, denied)
        self.expect(status=Status.DENIED, decided_at=LATER, reasons=factors, policy=2)

    def test_is_denied_by_an_underwriter_with_the_reasons(self) -> None:
        give(STATUS, REQUESTED, REVIEW, DENIED_BY_HAND)
        self.expect(
            status=Status.DENIED,
            passed_on_at=AT,
            decided_at=LATER,
            people=1,
            reasons=["too_much_debt", "other"],
            reason_text="We know the house.",
            denial_reason="too_much_debt",
        )

    @pytest.mark.parametrize(
        "event", [CLAIMED, EXTENDED, RELEASED, HANDED_OVER, ESCALATED, NOTED], ids=named
    )
    def test_does_not_tell_who_works_on_it(self, event: LoanEvent) -> None:
        give(STATUS, REQUESTED)
        assert is_ignored(STATUS, event)
        assert changes_of(STATUS, event) == {}
        self.expect()

    def test_changes_for_no_other_applicant(self) -> None:
        give(STATUS, REQUESTED, of_another(REQUESTED))
        give(STATUS, of_another(REVIEW), of_another(DENIED_BY_HAND))
        self.expect()

    def test_its_changes_are_told_to_those_who_watch_the_request(self) -> None:
        assert changes_of(STATUS, REQUESTED) == {broadcasts.loan_request_group(ID): {ID}}


class TestTheLoanRequests:
    def expect(self, **changes: Any) -> None:
        assert model_to_dict(LoanRequest.objects.get(id=ID)) == {
            "id": ID,
            "status": Status.RECEIVED,
            "name": ZOE.name,
            "national_id": ZOE.national_id,
            "amount": 5000,
            "address": ZOE.address,
            "credit_score": None,
            "parked_because": "",
            "requested_at": AT,
            "decided_at": None,
            "decided_by": "",
            "denial_reason": "",
            "note": "",
            "revision": 0,
            "gone_at": None,
            "factors": [],
            "policy": 0,
            "reasons": [],
            "reason_text": "",
            "together_with": [],
            "disagreement": False,
            "scored_at": None,
            "agency": "",
            "passed_on_at": None,
            "review_policy": None,
            "votes": [],
            "notes": [],
            **UNCLAIMED,
            **changes,
        }

    def test_begin_with_what_the_applicant_said(self) -> None:
        give(LOANS, REQUESTED)
        self.expect()

    def test_begin_no_sooner_where_an_application_has_lapsed(self) -> None:
        give(LOANS, LAPSED)
        assert not LoanRequest.objects.exists()
        give(LOANS, REQUESTED)
        self.expect()

    def test_show_the_score(self) -> None:
        report = {"factors": ("short_history",), "scored_at": LATER, "agency": "A bureau"}
        give(LOANS, REQUESTED, CHECKED.model_copy(update=report))
        self.expect(credit_score=6, factors=["short_history"], scored_at=LATER, agency="A bureau")

    def test_take_the_time_of_a_score_that_names_none(self) -> None:
        give(LOANS, REQUESTED, CHECKED)
        self.expect(credit_score=6, scored_at=AT)

    def test_say_why_there_is_no_score_as_long_as_there_is_none(self) -> None:
        give(LOANS, REQUESTED, PARKED)
        self.expect(parked_because="timed out")
        give(LOANS, CHECKED)
        self.expect(credit_score=6, scored_at=AT)

    def test_are_under_review(self) -> None:
        give(LOANS, REQUESTED, REVIEW.model_copy(update={"policy": 2}))
        self.expect(status=Status.UNDER_REVIEW, policy=2, passed_on_at=AT, review_policy=2)

    def test_keep_the_opinions_and_say_that_they_were_different(self) -> None:
        under_review = {
            "status": Status.UNDER_REVIEW,
            "passed_on_at": AT,
            "review_policy": 0,
        }
        votes = [TestTheUnderwritersQueue.VOTE_FOR, TestTheUnderwritersQueue.VOTE_AGAINST]
        give(LOANS, REQUESTED, REVIEW, FOR)
        self.expect(**under_review, votes=votes[:1])
        give(LOANS, AGAINST)
        self.expect(**under_review, votes=votes, disagreement=True)

    @pytest.mark.parametrize("is_one_batch", [True, False])
    def test_have_the_notes_in_the_order_in_which_they_came(self, is_one_batch: bool) -> None:
        second = NOTED.model_copy(update={"text": "Called again."})
        if is_one_batch:
            give(LOANS, REQUESTED, NOTED, second)
        else:
            for event in (REQUESTED, NOTED, second):
                give(LOANS, event)
        note = {"by": "uma", "at": LATER.isoformat(), "text": "Called, no answer."}
        self.expect(notes=[note, {**note, "text": "Called again."}])

    @each_history_of_claims
    def test_say_who_works_on_them(
        self, claims: tuple[LoanEvent, ...], standing: dict[str, Any]
    ) -> None:
        give(LOANS, REQUESTED, REVIEW, *claims)
        assert standing_of(LoanRequest.objects.get()) == standing

    def test_are_nobodys_once_they_are_decided(self) -> None:
        give(LOANS, REQUESTED, REVIEW, CLAIMED, DENIED_BY_HAND)
        assert standing_of(LoanRequest.objects.get()) == {}

    @pytest.mark.parametrize(
        ("decision", "status"), [(APPROVED, Status.APPROVED), (DENIED, Status.DENIED)]
    )
    def test_are_decided_by_the_score(self, decision: LoanEvent, status: Status) -> None:
        give(LOANS, REQUESTED, decision.model_copy(update={"policy": 2}))
        self.expect(status=status, decided_at=LATER, policy=2)

    def test_are_approved_by_an_underwriter(self) -> None:
        together = APPROVED_BY_HAND.model_copy(update={"together_with": ("una",)})
        give(LOANS, REQUESTED, REVIEW, together)
        self.expect(
            status=Status.APPROVED,
            passed_on_at=AT,
            review_policy=0,
            decided_at=LATER,
            decided_by="uma",
            together_with=["una"],
            note="fine",
        )

    def test_are_denied_by_an_underwriter(self) -> None:
        give(LOANS, REQUESTED, REVIEW, DENIED_BY_HAND)
        self.expect(
            status=Status.DENIED,
            passed_on_at=AT,
            review_policy=0,
            decided_at=LATER,
            decided_by="uma",
            reasons=["too_much_debt", "other"],
            reason_text="We know the house.",
            denial_reason="too_much_debt",
            note="sorry",
        )

    @pytest.mark.parametrize("event", [each for each in EVENTS if each is not LAPSED], ids=named)
    def test_each_event_is_told_to_the_underwriters_who_look_at_it(self, event: LoanEvent) -> None:
        if event is not REQUESTED:
            give(LOANS, REQUESTED)
        assert changes_of(LOANS, event) == {broadcasts.underwriting_group(ID): {ID}}


class TestTheParkedCreditChecks:
    def test_are_there_with_the_reason(self) -> None:
        give(PARKED_CHECKS, REQUESTED, PARKED, of_another(REQUESTED))
        assert model_to_dict(ParkedCreditCheck.objects.get()) == {
            "id": ID,
            "reason": "timed out",
            "attempts": 25,
            "parked_at": AT,
        }

    @pytest.mark.parametrize("is_one_batch", [True, False])
    def test_are_there_once_after_they_were_tried_again_in_vain(self, is_one_batch: bool) -> None:
        again = PARKED.model_copy(update={"attempts": 50, "occurred_at": LATER})
        if is_one_batch:
            give(PARKED_CHECKS, PARKED, again)
        else:
            give(PARKED_CHECKS, PARKED)
            give(PARKED_CHECKS, again)
        parked = ParkedCreditCheck.objects.get()
        assert (parked.attempts, parked.parked_at) == (50, LATER)

    @pytest.mark.parametrize(
        "event", [CHECKED, APPROVED, DENIED, APPROVED_BY_HAND, DENIED_BY_HAND], ids=named
    )
    def test_leave_with_the_score_and_at_the_latest_with_the_decision(
        self, event: LoanEvent
    ) -> None:
        give(PARKED_CHECKS, PARKED, of_another(PARKED), event)
        assert ParkedCreditCheck.objects.get().id == OTHER_ID


class TestTheLendingPolicies:
    PROPOSED = PolicyProposed(
        id=POLICY_ID,
        occurred_at=AT,
        version=3,
        by="pat",
        why="The new year.",
        effective_at=LATER,
        policy=Policy(automatic_up_to=10_000, four_eyes_above=10_000),
    )
    CONFIRMED = PolicyConfirmed(id=POLICY_ID, occurred_at=AT, version=3, by="paul")
    WITHDRAWN = PolicyWithdrawn(id=POLICY_ID, occurred_at=LATER, version=3, by="pia")

    def expect(self, **changes: Any) -> None:
        row = model_to_dict(LendingPolicy.objects.get())
        assert Policy.model_validate(row.pop("policy")) == self.PROPOSED.policy
        assert row == {
            "version": 3,
            "proposed_by": "pat",
            "proposed_at": AT,
            "why": "The new year.",
            "effective_at": LATER,
            "confirmed_by": "",
            "confirmed_at": None,
            "withdrawn_by": "",
            "withdrawn_at": None,
            **changes,
        }

    def test_are_proposed_confirmed_and_withdrawn(self) -> None:
        give(POLICIES, self.PROPOSED)
        self.expect()
        give(POLICIES, self.CONFIRMED)
        self.expect(confirmed_by="paul", confirmed_at=AT)
        give(POLICIES, self.WITHDRAWN)
        self.expect(confirmed_by="paul", confirmed_at=AT, withdrawn_by="pia", withdrawn_at=LATER)

    def test_are_in_force_from_the_moment_that_they_name(self) -> None:
        second = {"version": 2, "effective_at": AT}
        give(POLICIES, self.PROPOSED.model_copy(update=second), self.PROPOSED)
        assert LendingPolicy.objects.in_force(LATER) == 0, "none is confirmed"
        give(POLICIES, self.CONFIRMED.model_copy(update={"version": 2}), self.CONFIRMED)
        assert LendingPolicy.objects.in_force(AT - timedelta(seconds=1)) == 0
        assert LendingPolicy.objects.in_force(LATER - timedelta(seconds=1)) == 2
        assert LendingPolicy.objects.in_force(LATER) == 3
        give(POLICIES, self.WITHDRAWN)
        assert LendingPolicy.objects.in_force(LATER) == 2

    def test_are_in_force_no_sooner_than_they_are_confirmed(self) -> None:
        give(POLICIES, self.PROPOSED, at_the_time(self.CONFIRMED, LATER + timedelta(days=1)))
        assert LendingPolicy.objects.in_force(LATER) == 0

    def test_of_another_applications_streams_are_none_of_ours(self) -> None:
        event = recorded(self.PROPOSED)
        apply(POLICIES, [Received(replace(event, stream_name="Policy:shop"))])
        assert not LendingPolicy.objects.exists()


class TestTheRevision:
    """A row's revision is that of the last event in its stream, whatever that was."""

    @pytest.fixture(autouse=True, params=[1, 2, 3, 10])
    def _batches(self, request: pytest.FixtureRequest) -> None:
        self._size = request.param

    def stream(self, *events: LoanEvent | str) -> list[Received]:
        """The events of a stream; a string stands for an event of an unknown type."""
        return [
            Received(
                recorded(event, at=number + 1, revision=number)
                if not isinstance(event, str)
                else in_stream_of(ID, recorded_as(event, at=number + 1), number)
            )
            for number, event in enumerate(events)
        ]

    def give(self, projection: Projection, received: Sequence[Received]) -> None:
        applier = Applier.live(projection)
        for begin in range(0, len(received), self._size):
            applier.apply(received[begin : begin + self._size])

    def revision(self, projection: Projection) -> int:
        row = projection.model._default_manager.get(pk=ID)
        assert isinstance(row, OfOneRequest)
        return row.revision

    @pytest.mark.parametrize("projection", [STATUS, LOANS], ids=lambda each: each.name)
    @pytest.mark.parametrize(
        "events",
        [
            (REQUESTED,),
            (LAPSED, REQUESTED),
            (REQUESTED, PARKED, PARKED),
            (REQUESTED, PARKED, CHECKED, REVIEW),
            (REQUESTED, CHECKED, REVIEW, APPROVED_BY_HAND),
            (REQUESTED, CHECKED, APPROVED, "LoanPaidBack"),
            (LAPSED, REQUESTED, CHECKED, REVIEW, FOR, AGAINST),
        ],
        ids=len,
    )
    def test_is_that_of_the_last_event(
        self, projection: Projection, events: tuple[LoanEvent | str, ...]
    ) -> None:
        self.give(projection, self.stream(*events))
        assert self.revision(projection) == len(events) - 1

    def test_in_the_queue_moves_with_events_that_the_queue_ignores(self) -> None:
        self.give(QUEUE, self.stream(LAPSED, REQUESTED, CHECKED, REVIEW, "NoteTaken"))
        assert self.revision(QUEUE) == 4

    def test_moves_with_an_event_that_is_skipped(self) -> None:
        stream = self.stream(REQUESTED, CHECKED, REVIEW, DENIED_BY_HAND)
        last = stream[-1]
        SkippedEvent.objects.create(
            name=QUEUE.name, position=last.position, event_id=last.recorded.id
        )
        self.give(QUEUE, stream)
        assert self.revision(QUEUE) == 3

    def test_brings_no_row_back_that_has_left(self) -> None:
        self.give(QUEUE, self.stream(REQUESTED, CHECKED, REVIEW, APPROVED_BY_HAND, "LoanPaidBack"))
        assert not PendingRequest.objects.exists()


def changes_of(projection: Projection, event: LoanEvent) -> dict[str, set[UUID]]:
    return dict(apply_at(projection, (7, event)).groups)


def apply_at(projection: Projection, *events: tuple[int, LoanEvent]) -> Changes:
    """Apply events at these positions as one batch."""
    return apply(projection, [Received(recorded(event, at=at)) for at, event in events])


def apply(projection: Projection, received: Sequence[Received]) -> Changes:
    """Apply events as one batch; returns what is to be announced."""
    committed: list[Changes] = []
    Applier.live(projection, lambda position, changes: committed.append(changes)).apply(received)
    (changes,) = committed
    return changes


def test_there_is_an_event_of_every_type_here() -> None:
    assert {type(event) for event in EVENTS} == set(get_args(LoanEvent))


@each_projection
class TestEveryProjection:
    @pytest.mark.parametrize("event", EVENTS, ids=named)
    def test_moves_its_checkpoint_past_any_event(
        self, projection: Projection, event: LoanEvent
    ) -> None:
        Checkpoint.objects.create(name=projection.name, position=3, events=2)

        apply_at(projection, (7, event))

        checkpoint = Checkpoint.objects.get(name=projection.name)
        assert (checkpoint.position, checkpoint.recorded_at, checkpoint.events) == (7, AT, 3)

    def test_moves_its_checkpoint_past_events_of_a_type_that_it_does_not_know(
        self, projection: Projection
    ) -> None:
        unknown = Received(recorded_as("LoanPaidBack", at=7))
        assert not apply(projection, [unknown])
        assert Checkpoint.objects.get(name=projection.name).position == 7
        assert not projection.model._default_manager.exists()

    def test_applies_nothing_that_somebody_else_has_applied_meanwhile(
        self, projection: Projection
    ) -> None:
        Checkpoint.objects.create(name=projection.name, position=3)
        applier = Applier.live(projection)
        Checkpoint.objects.update(position=8)
        events: Sequence[LoanEvent] = [REQUESTED, REVIEW, LAPSED]
        applier.apply([Received(recorded(event, at=at)) for at, event in enumerate(events, 7)])
        checkpoint = Checkpoint.objects.get(name=projection.name)
        assert (checkpoint.position, checkpoint.events) == (9, 1)
        assert not projection.model._default_manager.exists()

    def test_records_its_version(self, projection: Projection) -> None:
        apply_at(replace(projection, version=7), (7, REQUESTED))
        assert Checkpoint.objects.get(name=projection.name).version == 7


class TestWhatIsToBeTold:
    def test_is_when_the_oldest_event_that_changed_a_row_was_recorded(self) -> None:
        events = [
            recorded(CHECKED, at=7),  # Changes nothing in the queue.
            replace(recorded(REVIEW, at=8), recorded_at=AT + timedelta(seconds=1)),
            replace(recorded(of_another(REVIEW), at=9), recorded_at=AT + timedelta(seconds=2)),
        ]
        changes = apply(QUEUE, [Received(each) for each in events])
        assert changes == Changes(
            {broadcasts.UNDERWRITING: {ID, OTHER_ID}}, AT + timedelta(seconds=1)
        )

    def test_of_two_commits_is_merged_with_the_older_time(self) -> None:
        older = Changes({"a": {ID}}, AT)
        newer = Changes({"a": {OTHER_ID}, "b": {ID}}, LATER)
        both = Changes({"a": {ID, OTHER_ID}, "b": {ID}}, AT)
        assert older | newer == both
        assert newer | older == both
        assert Changes() | newer == newer
