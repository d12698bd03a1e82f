"""Credit checks of requests without a score, also when several workers make them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from uuid import UUID, uuid4

import pytest
from django.utils import timezone
from esdbclient import RecordedEvent

from loans.adapters.credit_bureau import CreditBureau, CreditBureauUnavailable
from loans.adapters.event_store import EventStoreUnavailable
from loans.application.policies import Policies
from loans.application.use_cases import request_loan
from loans.domain.commands import RequestLoan
from loans.domain.credit_report import CreditReport
from loans.domain.events import CreditCheckParked, LoanRequested
from loans.workers.credit_checks import CREDIT_CHECKS, CreditChecks
from loans.workers.worker import TryAgain
from tests.support.fakes import FakeCreditBureau, FakeEventStore, reservations_in
from tests.support.loans import recorded


@dataclass
class Desk:
    """One request without a score, and its event."""

    store: FakeEventStore = field(default_factory=FakeEventStore)
    id: UUID = field(default_factory=uuid4)

    def __post_init__(self) -> None:
        command = RequestLoan(
            id=self.id,
            issued_at=timezone.now(),
            name="Ann Example",
            national_id="123456aa",
            amount=5000,
        )
        request_loan(
            command,
            event_store=self.store,
            policies=Policies(self.store),
            credit_bureau=FakeCreditBureau(None),
            reservations=reservations_in(self.store),
        )

    @property
    def event(self) -> RecordedEvent:
        [requested] = [each for each in self.events if isinstance(each, LoanRequested)]
        return recorded(requested)

    @property
    def events(self) -> list[object]:
        return list(self.store.events_of(self.id))

    @property
    def types(self) -> list[str]:
        return [type(each).__name__ for each in self.events]

    def checks(self, credit_bureau: CreditBureau) -> CreditChecks:
        return CreditChecks(
            event_store=self.store, credit_bureau=credit_bureau, policies=Policies(self.store)
        )


@pytest.fixture
def desk() -> Desk:
    return Desk()


class TestARequestWithoutAScore:
    def test_is_scored_and_decided(self, desk: Desk) -> None:
        bureau = FakeCreditBureau(9)
        desk.checks(bureau).handle(desk.event)

        assert desk.types == ["LoanRequested", "CreditChecked", "AutoApproved"]
        assert bureau.keys == [desk.id], "the key that the web server asked with"

    def test_is_scored_once_if_it_is_delivered_twice(self, desk: Desk) -> None:
        bureau = FakeCreditBureau(5)
        desk.checks(bureau).handle(desk.event)
        desk.checks(bureau).handle(desk.event)

        assert desk.types == ["LoanRequested", "CreditChecked", "ManualReviewRequired"]
        assert bureau.keys == [desk.id]

    def test_keeps_the_first_score_if_two_workers_ask_at_the_same_moment(self, desk: Desk) -> None:
        other = desk.checks(FakeCreditBureau(1))
        desk.store.before_append.append(lambda: other.handle(desk.event))
        desk.checks(FakeCreditBureau(9)).handle(desk.event)

        assert desk.types == ["LoanRequested", "CreditChecked", "AutoDenied"]

    def test_is_retried_when_the_credit_bureau_says_so(self, desk: Desk) -> None:
        class Busy:
            def report(self, national_id: str, *, idempotency_key: UUID) -> CreditReport:
                raise CreditBureauUnavailable("answered 429", retry_after=7.0)

        with pytest.raises(TryAgain) as again:
            desk.checks(Busy()).handle(desk.event)

        assert (again.value.reason, again.value.after) == ("answered 429", 7.0)
        assert desk.types == ["LoanRequested"]

    def test_is_not_counted_as_failed_while_the_event_store_is_down(self, desk: Desk) -> None:
        event, desk.store.is_away = desk.event, True
        with pytest.raises(EventStoreUnavailable):
            desk.checks(FakeCreditBureau()).handle(event)


class TestTheGroup:
    @pytest.mark.parametrize(
        ("metadata", "is_wanted"),
        [
            (b'{"schemaVersion": 1}', True),
            (b'{"schemaVersion": 1, "scoredAtOnce": true}', False),
        ],
        ids=["recorded without, or by an older version", "recorded with it"],
    )
    def test_passes_over_requests_that_were_recorded_with_their_score(
        self, desk: Desk, metadata: bytes, is_wanted: bool
    ) -> None:
        event = replace(desk.event, metadata=metadata)
        assert CREDIT_CHECKS.is_wanted(event) is is_wanted

    def test_passes_over_what_others_have_recorded(self, desk: Desk) -> None:
        assert not CREDIT_CHECKS.is_wanted(replace(desk.event, stream_name="Shop:1"))


class TestARequestThatIsGivenUp:
    def test_has_the_reason_in_its_stream(
        self, desk: Desk, caplog: pytest.LogCaptureFixture
    ) -> None:
        desk.checks(FakeCreditBureau()).give_up(desk.event, reason="timed out", attempts=25)

        parked = desk.events[-1]
        assert isinstance(parked, CreditCheckParked)
        assert (parked.reason, parked.attempts) == ("timed out", 25)
        assert f"Parked the credit check of {desk.id} (timed out)" in caplog.text

    def test_is_left_alone_if_it_was_scored_meanwhile(self, desk: Desk) -> None:
        checks = desk.checks(FakeCreditBureau(9))
        checks.handle(desk.event)
        checks.give_up(desk.event, reason="timed out", attempts=25)

        assert desk.types == ["LoanRequested", "CreditChecked", "AutoApproved"]

    def test_is_scored_when_it_is_replayed(self, desk: Desk) -> None:
        checks = desk.checks(FakeCreditBureau(9))
        checks.give_up(desk.event, reason="timed out", attempts=25)
        checks.handle(desk.event)

        assert desk.types[2:] == ["CreditChecked", "AutoApproved"]
