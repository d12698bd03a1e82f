"""Each projection: what every event type does to its rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, get_args
from uuid import UUID, uuid4

import pytest
from django.forms import model_to_dict

from loans.domain.events import LoanEvent
from readmodels.live import broadcasts
from readmodels.models import (
    Checkpoint,
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
from tests.support.projectors import LOANS, PARKED_CHECKS, QUEUE, STATUS, give
from tests.support.sample_events import (
    APPROVED,
    APPROVED_BY_HAND,
    CHECKED,
    DENIED,
    DENIED_BY_HAND,
    EVENTS,
    ID,
    LAPSED,
    LATER,
    PARKED,
    REQUESTED,
    REVIEW,
)

pytestmark = pytest.mark.django_db

OTHER_ID = uuid4()

each_projection = pytest.mark.parametrize("projection", PROJECTIONS.values(), ids=PROJECTIONS)


def named(event: LoanEvent) -> str:
    return type(event).__name__


def is_ignored(projection: Projection, event: LoanEvent) -> bool:
    return named(event) not in projection.takes


def at_the_time(event: LoanEvent, when: datetime) -> LoanEvent:
    return event.model_copy(update={"occurred_at": when})


def of_another(event: LoanEvent) -> LoanEvent:
    return event.model_copy(update={"id": OTHER_ID})


class TestTheUnderwritersQueue:
    def test_a_request_to_review_is_in_it_with_all_that_its_event_says(self) -> None:
        give(QUEUE, REVIEW)
        assert model_to_dict(PendingRequest.objects.get()) == {
            "id": ID,
            "name": ZOE.name,
            "national_id": ZOE.national_id,
            "amount": 5000,
            "credit_score": 6,
            "requested_at": AT,
            "revision": 0,
            "gone_at": None,
        }

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
            **changes,
        }

    def test_begins_with_the_request(self) -> None:
        give(STATUS, REQUESTED)
        self.expect()

    def test_tells_of_the_score_only_when_there_was_one(self) -> None:
        give(STATUS, REQUESTED, at_the_time(CHECKED, LATER))
        self.expect(checked_at=LATER)

    def test_tells_that_the_score_takes_longer_and_not_why(self) -> None:
        give(STATUS, REQUESTED, at_the_time(PARKED, LATER))
        self.expect(delayed_at=LATER)

    def test_is_under_review(self) -> None:
        give(STATUS, REQUESTED, at_the_time(REVIEW, LATER))
        self.expect(status=Status.UNDER_REVIEW, passed_on_at=LATER)

    def test_does_not_begin_with_an_application_that_lapsed(self) -> None:
        give(STATUS, LAPSED)
        assert not LoanStatus.objects.exists()

    @pytest.mark.parametrize("approval", [APPROVED, APPROVED_BY_HAND], ids=named)
    def test_is_approved(self, approval: LoanEvent) -> None:
        give(STATUS, REQUESTED, approval)
        self.expect(status=Status.APPROVED, decided_at=LATER)

    def test_is_denied(self) -> None:
        give(STATUS, REQUESTED, DENIED)
        self.expect(status=Status.DENIED, decided_at=LATER)

    def test_is_denied_by_an_underwriter_with_the_reason(self) -> None:
        give(STATUS, REQUESTED, REVIEW, DENIED_BY_HAND)
        self.expect(
            status=Status.DENIED,
            passed_on_at=AT,
            decided_at=LATER,
            denial_reason="too_much_debt",
        )

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
        give(LOANS, REQUESTED, CHECKED)
        self.expect(credit_score=6)

    def test_say_why_there_is_no_score_as_long_as_there_is_none(self) -> None:
        give(LOANS, REQUESTED, PARKED)
        self.expect(parked_because="timed out")
        give(LOANS, CHECKED)
        self.expect(credit_score=6)

    def test_are_under_review(self) -> None:
        give(LOANS, REQUESTED, REVIEW)
        self.expect(status=Status.UNDER_REVIEW)

    @pytest.mark.parametrize(
        ("decision", "status"), [(APPROVED, Status.APPROVED), (DENIED, Status.DENIED)]
    )
    def test_are_decided_by_the_score(self, decision: LoanEvent, status: Status) -> None:
        give(LOANS, REQUESTED, decision)
        self.expect(status=status, decided_at=LATER)

    def test_are_approved_by_an_underwriter(self) -> None:
        give(LOANS, REQUESTED, REVIEW, APPROVED_BY_HAND)
        self.expect(status=Status.APPROVED, decided_at=LATER, decided_by="uma", note="fine")

    def test_are_denied_by_an_underwriter(self) -> None:
        give(LOANS, REQUESTED, REVIEW, DENIED_BY_HAND)
        self.expect(
            status=Status.DENIED,
            decided_at=LATER,
            decided_by="uma",
            denial_reason="too_much_debt",
            note="sorry",
        )

    def test_their_changes_are_told_to_nobody(self) -> None:
        assert changes_of(LOANS, REQUESTED) == {}


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
