"""Read models of a store in which an operator has deleted or truncated streams."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest
from django.utils import timezone

from lepret.common.event_store_client import close_event_store_client, event_store_client
from loans.adapters import codec
from loans.application.losses import note_loss
from loans.dependencies import event_store as loans_store
from loans.domain.events import LoanEvent, LoanRequestBack, LoanRequestGone
from readmodels.models import LoanRequest, LoanStatus, ParkedCreditCheck, PendingRequest
from readmodels.pages.queue_page import QueuePage
from readmodels.projections import PROJECTIONS, Projection
from readmodels.projector.batches import Applier
from readmodels.projector.received import Received
from tests.support.event_store import RunningEventStore
from tests.support.loans import AT, append_requested_loan, recorded, recorded_as
from tests.support.lost_streams import WAYS, Way, set_metadata, truncate
from tests.support.projectors import catch_up, give, new_rebuilder, rows
from tests.support.sample_events import ID, PARKED, REQUESTED, REVIEW

GONE = LoanRequestGone(id=ID, occurred_at=AT)
BACK = LoanRequestBack(id=ID, occurred_at=AT)

each_projection = pytest.mark.parametrize("projection", PROJECTIONS.values(), ids=PROJECTIONS)
pytestmark = pytest.mark.usefixtures("read_models")


def note(loan_request_id: UUID) -> None:
    note_loss(loan_request_id, event_store=loans_store(), now=timezone.now())


def lose(loan_request_id: UUID, way: Way) -> None:
    way(event_store_client(), codec.stream_name(loan_request_id))
    note(loan_request_id)


def waiting() -> list[UUID]:
    return [row.id for row in QueuePage.read().rows]


@pytest.mark.usefixtures("event_store")
class TestARequestThatIsGone:
    @pytest.mark.parametrize("is_projected", [True, False], ids=["projected", "not projected yet"])
    @pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
    def test_waits_for_nobody_and_is_marked(self, way: Way, *, is_projected: bool) -> None:
        lost, kept = (append_requested_loan(5).loan_request_id for _ in range(2))
        if is_projected:
            catch_up()
            assert set(waiting()) == {lost, kept}

        lose(lost, way)
        catch_up()

        assert waiting() == [kept]
        for model in (LoanStatus, LoanRequest):
            marked = model._default_manager.exclude(gone_at=None)
            assert [row.pk for row in marked] == [lost]

    def test_waits_again_when_it_is_back(self) -> None:
        lost = append_requested_loan(5).loan_request_id
        lose(lost, truncate)
        catch_up()
        set_metadata(event_store_client(), codec.stream_name(lost), {})
        note(lost)
        catch_up()
        assert waiting() == [lost]
        assert not LoanStatus.objects.exclude(gone_at=None).exists()

    @pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
    def test_is_the_same_in_a_rebuild(self, way: Way) -> None:
        lost = append_requested_loan(5).loan_request_id
        append_requested_loan(6)
        lose(lost, way)
        catch_up()
        before = {name: rows(each) for name, each in PROJECTIONS.items()}
        for each in PROJECTIONS.values():
            new_rebuilder(each).run()
        assert {name: rows(each) for name, each in PROJECTIONS.items()} == before

    def test_may_be_rebuilt_when_a_scavenge_has_removed_its_events(
        self, event_store: RunningEventStore
    ) -> None:
        lost, kept = (append_requested_loan(5).loan_request_id for _ in range(2))
        catch_up()
        lose(lost, truncate)
        close_event_store_client()
        event_store.scavenge()
        for each in PROJECTIONS.values():
            new_rebuilder(each).run()
        assert waiting() == [kept]
        assert not LoanStatus.objects.filter(id=lost).exists()


def test_its_credit_check_is_given_up_no_more() -> None:
    give(PROJECTIONS["parked_credit_checks"], PARKED)
    give(PROJECTIONS["parked_credit_checks"], GONE)
    assert not ParkedCreditCheck.objects.exists()


def test_it_stays_gone_in_one_batch_and_in_several() -> None:
    queue = PROJECTIONS["underwriters_queue"]
    give(queue, REVIEW, GONE, BACK, GONE)
    assert PendingRequest.objects.get().gone_at == AT
    give(queue, BACK)
    assert PendingRequest.objects.get().gone_at is None


def test_what_others_have_written_about_it_is_passed_over() -> None:
    queue = PROJECTIONS["underwriters_queue"]
    applier = Applier.live(queue)
    applier.apply([Received(recorded(REVIEW, at=1))])
    data = codec.encode(GONE, command_id=uuid4(), user="x").data
    elsewhere = recorded_as("LoanRequestGone", data, at=2)
    applier.apply([Received(elsewhere)])
    assert PendingRequest.objects.get().gone_at is None


@each_projection
@pytest.mark.parametrize("size", [1, 10])
def test_a_request_that_was_recorded_once_more_stops_no_projection(
    projection: Projection, size: int
) -> None:
    """Into a truncated stream, by a version that did not look what was left of it."""
    twice: list[LoanEvent] = [REQUESTED, REVIEW, REQUESTED, REVIEW]
    history = [
        Received(recorded(event, at=number + 1, revision=number))
        for number, event in enumerate(twice)
    ]
    applier = Applier.live(projection)
    for begin in range(0, len(history), size):
        applier.apply(history[begin : begin + size])
    assert applier.position == 4
    numbers = [row["revision"] for row in rows(projection) if "revision" in row]
    assert numbers == [3] * len(numbers)
