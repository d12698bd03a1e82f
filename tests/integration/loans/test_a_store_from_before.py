"""A store of the version before there were policies: it is opened, projected and decided on.

That version made it, with its embedded event store. Of the requests in it, whose ids count from 1:
1 and 13 were approved at once and 2 denied; uma approved 3; vic denied 4 to 8, each for another
reason; 9 (of 20,000) and 12 are under review, 10 is not scored, and the check of 11 is parked.
"""

from __future__ import annotations

import gzip
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from uuid import UUID

import pytest

from loans.application import use_cases
from loans.application.policies import Policies
from loans.application.use_cases import Answer
from loans.dependencies import event_store as loans_store
from loans.domain.commands import ApproveLoan, ClaimRequest, DenyLoan, EscalateRequest
from loans.domain.loan_request import AlreadyDecided, ClaimedByAnother, ForLeads, Status
from loans.domain.policy import VERSION_0
from readmodels.models import LoanRequest, LoanStatus, PendingRequest
from tests.support.event_store import RunningEventStore, needs_the_embedded_store
from tests.support.fakes import AlwaysInForce, FakeCreditBureau
from tests.support.loans import recorded_loans
from tests.support.made_up_policies import limited_to
from tests.support.processes import PROJECT
from tests.support.projectors import catch_up

STORED: Final = PROJECT / "tests/support/stores/before_policies.sqlite3.gz"
NO_POLICY: Final = AlwaysInForce(VERSION_0)
LIMITED: Final = AlwaysInForce(limited_to(10_000))
NOW: Final = datetime(2026, 12, 1, 9, 30, tzinfo=UTC)
APPROVED, DENIED, REVIEW, RECEIVED = (
    Status.APPROVED,
    Status.DENIED,
    Status.UNDER_REVIEW,
    Status.RECEIVED,
)
EXPECTED: Final = {
    **dict.fromkeys((1, 3, 13), APPROVED),
    **dict.fromkeys((2, 4, 5, 6, 7, 8), DENIED),
    **dict.fromkeys((9, 12), REVIEW),
    **dict.fromkeys((10, 11), RECEIVED),
}


@pytest.fixture
def stored_file(tmp_path: Path) -> None:
    """Puts the stored one where the test's own store looks for its file."""
    needs_the_embedded_store("it is a file of the embedded one")
    (tmp_path / "events").mkdir()
    (tmp_path / "events/events.sqlite3").write_bytes(gzip.decompress(STORED.read_bytes()))


@pytest.fixture
def event_store(stored_file: None, event_store: RunningEventStore) -> RunningEventStore:
    """The application uses the stored one."""
    return event_store


def numbered(number: int) -> UUID:
    return UUID(f"00000000-0000-4000-8000-{number:012x}")


def approve(number: int, by: str, policies: Policies) -> Answer:
    command = ApproveLoan(id=numbered(number), issued_at=NOW, decided_by=by)
    return use_cases.approve_loan(command, event_store=loans_store(), policies=policies)


@pytest.mark.usefixtures("event_store", "read_models")
def test_its_requests_stand_as_they_did_and_read_models_show_them() -> None:
    loans = recorded_loans()
    assert {id_: loan.status for id_, loan in loans.items()} == {
        numbered(number): status for number, status in EXPECTED.items()
    }
    denied = loans[numbered(5)].decision
    assert denied is not None
    assert (denied.decided_by, denied.reasons, denied.policy) == ("vic", ("too_much_debt",), 0)

    catch_up()
    for model in (LoanRequest, LoanStatus):
        rows = model._default_manager.values_list("id", "status")
        assert dict(rows) == {id_: loan.status for id_, loan in loans.items()}
    waiting = PendingRequest.objects.values_list("id", "amount", "credit_score")
    assert set(waiting) == {(numbered(9), 20_000, 5), (numbered(12), 5_000, 6)}


@pytest.mark.usefixtures("event_store")
class TestDeciding:
    def test_goes_on_where_it_was(self) -> None:
        assert approve(9, "uma", NO_POLICY).status is APPROVED

    def test_goes_by_the_policy_of_today(self) -> None:
        first = approve(9, "uma", LIMITED)
        assert (first.status, first.state.awaiting) == (REVIEW, "second opinion")
        second = approve(9, "vic", LIMITED)
        assert second.status is APPROVED
        assert second.state.decision is not None
        assert second.state.decision.people == ("uma", "vic")

    def test_waits_for_whoever_has_claimed_one(self) -> None:
        claim = ClaimRequest(id=numbered(9), issued_at=NOW, by="uma")
        use_cases.claim_request(claim, event_store=loans_store(), policies=NO_POLICY)
        with pytest.raises(ClaimedByAnother, match="uma works on this loan request"):
            approve(9, "vic", NO_POLICY)
        assert approve(9, "uma", NO_POLICY).status is APPROVED

    def test_is_left_to_leads(self) -> None:
        escalate = EscalateRequest(id=numbered(12), issued_at=NOW, by="uma", why="Too much.")
        use_cases.escalate_request(escalate, event_store=loans_store(), policies=NO_POLICY)
        with pytest.raises(ForLeads):
            approve(12, "uma", NO_POLICY)

    def test_begins_with_the_next_that_waits(self) -> None:
        answer = use_cases.claim_first_of(
            [numbered(number) for number in EXPECTED],
            by="uma",
            as_lead=False,
            clock=lambda: NOW,
            event_store=loans_store(),
            policies=NO_POLICY,
        )
        assert answer is not None
        assert answer.loan_request_id == numbered(9)

    def test_knows_a_decision_that_is_sent_again(self) -> None:
        command = DenyLoan(
            id=numbered(5),
            issued_at=NOW,
            decided_by="vic",
            reasons=("too_much_debt",),
            note="Three loans run.",
        )
        answer = use_cases.deny_loan(command, event_store=loans_store(), policies=NO_POLICY)
        assert answer.status is DENIED
        with pytest.raises(AlreadyDecided, match="Already denied by vic"):
            approve(5, "uma", NO_POLICY)

    def test_scores_what_was_not_scored(self) -> None:
        for number in (10, 11):
            answer = use_cases.check_credit(
                numbered(number),
                clock=lambda: NOW,
                event_store=loans_store(),
                credit_bureau=FakeCreditBureau(9),
                policies=LIMITED,
            )
            assert answer is not None
            assert answer.status is APPROVED
