"""Each projection: what every event type does to its rows."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, get_args
from uuid import UUID, uuid4

import pytest
from django.forms import model_to_dict

from loans.domain.events import (
    AutoApproved,
    AutoDenied,
    CreditChecked,
    LoanEvent,
    LoanRequested,
    ManuallyApproved,
    ManuallyDenied,
    ManualReviewRequired,
)
from readmodels import broadcasts
from readmodels.batches import CheckpointMoved, apply_batch
from readmodels.models import Checkpoint, LoanRequest, LoanStatus, PendingRequest, Status
from readmodels.projections import PROJECTIONS, Projection
from tests.support.loans import AT, ZOE, recorded, recorded_as

pytestmark = pytest.mark.django_db

QUEUE = PROJECTIONS["underwriters_queue"]
STATUS = PROJECTIONS["loan_status"]
LOANS = PROJECTIONS["loan_requests"]

ID, OTHER_ID = uuid4(), uuid4()
LATER = AT + timedelta(hours=1)

REQUESTED = LoanRequested(
    id=ID,
    occurred_at=AT,
    name=ZOE.name,
    national_id=ZOE.national_id,
    amount=5000,
    address=ZOE.address,
)
CHECKED = CreditChecked(id=ID, occurred_at=AT, credit_score=6)
APPROVED = AutoApproved(id=ID, occurred_at=LATER)
DENIED = AutoDenied(id=ID, occurred_at=LATER)
REVIEW = ManualReviewRequired(
    id=ID,
    occurred_at=AT,
    name=ZOE.name,
    national_id=ZOE.national_id,
    amount=5000,
    credit_score=6,
)
APPROVED_BY_HAND = ManuallyApproved(id=ID, occurred_at=LATER, decided_by="uma", note="fine")
DENIED_BY_HAND = ManuallyDenied(
    id=ID, occurred_at=LATER, decided_by="uma", reason="too_much_debt", note="sorry"
)
EVENTS: tuple[LoanEvent, ...] = (
    REQUESTED,
    CHECKED,
    APPROVED,
    DENIED,
    REVIEW,
    APPROVED_BY_HAND,
    DENIED_BY_HAND,
)

each_projection = pytest.mark.parametrize("projection", PROJECTIONS.values(), ids=PROJECTIONS)


def named(event: LoanEvent) -> str:
    return type(event).__name__


def given(projection: Projection, *events: LoanEvent) -> None:
    for event in events:
        projection.handle(event)


def of_another(event: LoanEvent) -> LoanEvent:
    return event.model_copy(update={"id": OTHER_ID})


class TestTheUnderwritersQueue:
    def test_a_request_to_review_is_in_it_with_all_that_its_event_says(self) -> None:
        given(QUEUE, REVIEW)
        assert model_to_dict(PendingRequest.objects.get()) == {
            "id": ID,
            "name": ZOE.name,
            "national_id": ZOE.national_id,
            "amount": 5000,
            "credit_score": 6,
            "requested_at": AT,
        }

    @pytest.mark.parametrize("decision", [APPROVED_BY_HAND, DENIED_BY_HAND], ids=named)
    def test_a_decided_request_leaves_it(self, decision: LoanEvent) -> None:
        given(QUEUE, REVIEW, of_another(REVIEW), decision)
        assert PendingRequest.objects.get().id == OTHER_ID

    @pytest.mark.parametrize("event", [REQUESTED, CHECKED, APPROVED, DENIED], ids=named)
    def test_other_events_leave_it_alone(self, event: LoanEvent) -> None:
        given(QUEUE, of_another(REVIEW))
        assert not QUEUE.handle(event)
        assert PendingRequest.objects.get().id == OTHER_ID

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
            "decided_at": None,
            **changes,
        }

    def test_begins_with_the_request(self) -> None:
        given(STATUS, REQUESTED)
        self.expect()

    def test_is_not_changed_by_the_score(self) -> None:
        given(STATUS, REQUESTED)
        assert not STATUS.handle(CHECKED)
        self.expect()

    def test_is_under_review(self) -> None:
        given(STATUS, REQUESTED, REVIEW)
        self.expect(status=Status.UNDER_REVIEW)

    @pytest.mark.parametrize("approval", [APPROVED, APPROVED_BY_HAND], ids=named)
    def test_is_approved(self, approval: LoanEvent) -> None:
        given(STATUS, REQUESTED, approval)
        self.expect(status=Status.APPROVED, decided_at=LATER)

    def test_is_denied(self) -> None:
        given(STATUS, REQUESTED, DENIED)
        self.expect(status=Status.DENIED, decided_at=LATER)

    def test_is_denied_by_an_underwriter_with_the_reason(self) -> None:
        given(STATUS, REQUESTED, REVIEW, DENIED_BY_HAND)
        self.expect(status=Status.DENIED, decided_at=LATER, denial_reason="too_much_debt")

    def test_changes_for_no_other_applicant(self) -> None:
        given(STATUS, REQUESTED, of_another(REQUESTED))
        given(STATUS, of_another(REVIEW), of_another(DENIED_BY_HAND))
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
            "requested_at": AT,
            "decided_at": None,
            "decided_by": "",
            "denial_reason": "",
            "note": "",
            **changes,
        }

    def test_begin_with_what_the_applicant_said(self) -> None:
        given(LOANS, REQUESTED)
        self.expect()

    def test_show_the_score(self) -> None:
        given(LOANS, REQUESTED, CHECKED)
        self.expect(credit_score=6)

    def test_are_under_review(self) -> None:
        given(LOANS, REQUESTED, REVIEW)
        self.expect(status=Status.UNDER_REVIEW)

    @pytest.mark.parametrize(
        ("decision", "status"), [(APPROVED, Status.APPROVED), (DENIED, Status.DENIED)]
    )
    def test_are_decided_by_the_score(self, decision: LoanEvent, status: Status) -> None:
        given(LOANS, REQUESTED, decision)
        self.expect(status=status, decided_at=LATER)

    def test_are_approved_by_an_underwriter(self) -> None:
        given(LOANS, REQUESTED, REVIEW, APPROVED_BY_HAND)
        self.expect(status=Status.APPROVED, decided_at=LATER, decided_by="uma", note="fine")

    def test_are_denied_by_an_underwriter(self) -> None:
        given(LOANS, REQUESTED, REVIEW, DENIED_BY_HAND)
        self.expect(
            status=Status.DENIED,
            decided_at=LATER,
            decided_by="uma",
            denial_reason="too_much_debt",
            note="sorry",
        )

    def test_their_changes_are_told_to_nobody(self) -> None:
        assert changes_of(LOANS, REQUESTED) == {}


def changes_of(projection: Projection, event: LoanEvent) -> dict[str, set[UUID]]:
    Checkpoint.objects.create(name=projection.name)
    return dict(apply_batch(projection, [recorded(event)], after=0))


def test_there_is_an_event_of_every_type_here() -> None:
    assert {type(event) for event in EVENTS} == set(get_args(LoanEvent))


@each_projection
class TestEveryProjection:
    @pytest.mark.parametrize("event", EVENTS, ids=named)
    def test_moves_its_checkpoint_past_any_event(
        self, projection: Projection, event: LoanEvent
    ) -> None:
        Checkpoint.objects.create(name=projection.name, position=3)

        apply_batch(projection, [recorded(event, at=7)], after=3)

        checkpoint = Checkpoint.objects.get(name=projection.name)
        assert (checkpoint.position, checkpoint.recorded_at) == (7, AT)

    def test_moves_its_checkpoint_past_events_of_a_type_that_it_does_not_know(
        self, projection: Projection
    ) -> None:
        Checkpoint.objects.create(name=projection.name)
        changes = apply_batch(projection, [recorded_as("LoanPaidBack", at=7)], after=0)
        assert changes == {}
        assert Checkpoint.objects.get(name=projection.name).position == 7
        assert not any(model._default_manager.exists() for model in projection.models)

    def test_does_nothing_where_the_checkpoint_is_not_where_it_was(
        self, projection: Projection
    ) -> None:
        Checkpoint.objects.create(name=projection.name, position=5)
        with pytest.raises(CheckpointMoved):
            apply_batch(projection, [recorded(REQUESTED, at=7), recorded(REVIEW, at=8)], after=3)
        assert Checkpoint.objects.get(name=projection.name).position == 5
        assert not any(model._default_manager.exists() for model in projection.models)

    def test_is_reset_to_nothing_and_leaves_the_others_alone(self, projection: Projection) -> None:
        for each in PROJECTIONS.values():
            Checkpoint.objects.create(name=each.name)
            apply_batch(each, [recorded(REQUESTED, at=7), recorded(REVIEW, at=8)], after=0)

        projection.reset()

        for each in PROJECTIONS.values():
            is_kept = each is not projection
            assert Checkpoint.objects.get(name=each.name).position == (8 if is_kept else 0)
            assert all(model._default_manager.exists() is is_kept for model in each.models)
