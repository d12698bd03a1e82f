"""Requests on which several people vote, under more than one policy, in all read models."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID, uuid4

import pytest
from django.db.models import Field, Model
from django.utils import timezone

from loans import dependencies
from loans.application import use_cases
from loans.domain.commands import ApproveLoan, DenyLoan, RequestLoan
from readmodels.database import read_models_connection
from readmodels.models import LendingPolicy, LoanRequest, LoanStatus, PendingRequest
from readmodels.pages.explaining import explanation_of, reasons_to_applicant
from readmodels.pages.queue_page import QueuePage
from readmodels.policies import policy_in_force
from tests.support.fakes import FakeCreditBureau, FakeEventStore, reservations_in
from tests.support.loans import AT, append_a_loan_of_each_kind
from tests.support.policies import DEMO_LIKE, put_in_force
from tests.support.projectors import (
    assert_read_models_tell_what_the_events_say,
    catch_up,
    rebuild,
    rows,
)

pytestmark = pytest.mark.usefixtures("event_store", "read_models")

REASONS: Final = ("too_much_debt", "other")
SAID: Final = "The house belongs to somebody else."


def request_of(amount: int, score: int = 6) -> UUID:
    command = RequestLoan(
        id=uuid4(),
        issued_at=timezone.now(),
        name="Ann Example",
        national_id="123456aa",
        amount=amount,
    )
    answer = use_cases.request_loan(
        command,
        **_decides(),
        credit_bureau=FakeCreditBureau(score),
        reservations=reservations_in(FakeEventStore()),
    )
    return answer.loan_request_id


def approve(loan: UUID, by: str) -> None:
    command = ApproveLoan(id=loan, issued_at=timezone.now(), decided_by=by, note="fine")
    use_cases.approve_loan(command, **_decides())


def deny(loan: UUID, by: str) -> None:
    command = DenyLoan(
        id=loan, issued_at=timezone.now(), decided_by=by, reasons=REASONS, reason_text=SAID
    )
    use_cases.deny_loan(command, **_decides())


def _decides() -> dict[str, Any]:
    return {"event_store": dependencies.event_store(), "policies": dependencies.policies()}


def vote_on_some() -> dict[str, UUID]:
    """Requests above the limit, by how far the opinions on each have come."""
    loans = {name: request_of(20_000) for name in ("for", "disagreement", "approved", "denied")}
    for loan in loans.values():
        approve(loan, "uma")
    for name in ("disagreement", "denied"):
        deny(loans[name], "ursula")
    approve(loans["approved"], "ursula")
    deny(loans["denied"], "ulf")
    return loans


def test_they_tell_who_has_said_what_and_under_which_policy() -> None:
    append_a_loan_of_each_kind()
    put_in_force(DEMO_LIKE)
    loans = vote_on_some()
    put_in_force(DEMO_LIKE.model_copy(update={"approve_from": 9}))
    request_of(5_000, score=8)
    catch_up()

    assert_read_models_tell_what_the_events_say()
    assert policy_in_force(timezone.now()).policy.approve_from == 9
    awaiting = {row.id: row.awaiting for row in QueuePage.read().rows if row.votes}
    assert awaiting == {loans["for"]: "second opinion", loans["disagreement"]: "third opinion"}
    denied = LoanRequest.objects.get(id=loans["denied"])
    assert (denied.deciders, denied.disagreement) == (["ursula", "ulf"], True)
    told = LoanStatus.objects.get(id=loans["denied"])
    assert [each.text for each in reasons_to_applicant(told)] == ["You owe too much already.", SAID]
    assert explanation_of(told) == explanation_of(denied)


def test_what_is_built_anew_equals_the_first_build() -> None:
    append_a_loan_of_each_kind()
    put_in_force()
    vote_on_some()
    put_in_force(DEMO_LIKE.model_copy(update={"approve_from": 9}))
    catch_up()
    built = rows()
    assert LendingPolicy.objects.count() == 2

    rebuild()

    assert rows() == built
    assert_read_models_tell_what_the_events_say()


def test_rows_that_an_older_version_of_the_program_writes_are_shown() -> None:
    loan, pending = uuid4(), uuid4()
    known = {"amount": 5000, "revision": 3}
    times = dict.fromkeys(("received_at", "decided_at", "passed_on_at"), AT)
    insert(LoanStatus, id=loan, status="denied", denial_reason="too_much_debt", **known, **times)
    ann = {"name": "Ann Example", "national_id": "123456aa", "credit_score": 5}
    insert(PendingRequest, id=pending, requested_at=AT, **known, **ann)

    told = LoanStatus.objects.get(id=loan)
    assert [each.text for each in reasons_to_applicant(told)] == ["You owe too much already."]
    assert explanation_of(told) is None, "the row does not have the score"
    (row,) = QueuePage.read().rows
    assert (row.id, row.opinions, row.factors_in_words) == (pending, [], [])
    assert PendingRequest.objects.get().policy == 0


def insert(model: type[Model], **values: Any) -> None:
    """Insert a row with these columns alone, as a program does that does not know the others."""
    connection = read_models_connection()
    fields = [model._meta.get_field(name) for name in values]
    columns = ", ".join(str(field.column) for field in fields if isinstance(field, Field))
    places = ", ".join("%s" for _ in fields)
    sql = f"INSERT INTO {model._meta.db_table} ({columns}) VALUES ({places})"  # noqa: S608
    prepared = [
        field.get_db_prep_save(value, connection)
        for field, value in zip(fields, values.values(), strict=True)
        if isinstance(field, Field)
    ]
    with connection.cursor() as cursor:
        cursor.execute(sql, prepared)
