"""Who works on a request: told to the staff, and to nobody else."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import pytest
from django.test import Client
from django.utils import timezone

from loans.application import use_cases
from loans.dependencies import event_store, policies
from loans.domain.commands import ClaimRequest, EscalateRequest, HandOver, ReleaseRequest
from readmodels.models import LoanRequest, PendingRequest
from tests.support.loans import append_requested_loan
from tests.support.projectors import catch_up
from tests.support.staff import make_clerk, make_underwriter

pytestmark = [pytest.mark.usefixtures("event_store"), pytest.mark.django_db]

WHY: Final = "Known to Ursula"
TOO_LARGE: Final = "Too large for Ursula"


@pytest.fixture
def loan() -> UUID:
    """A request that was claimed, handed over, gone on with, and left to the leads."""
    id_ = append_requested_loan(score=5).loan_request_id
    for command in (
        ClaimRequest(id=id_, issued_at=now(), by="uma"),
        ReleaseRequest(id=id_, issued_at=now(), by="uma"),
        ClaimRequest(id=id_, issued_at=now(), by="uma"),
        HandOver(id=id_, issued_at=now(), by="uma", to="ursula", why=WHY),
        EscalateRequest(id=id_, issued_at=now(), by="ursula", why=TOO_LARGE),
        ClaimRequest(id=id_, issued_at=now(), by="ulf", as_lead=True),
    ):
        carry_out(command)
    catch_up()
    return id_


def words_of(html: str) -> str:
    return " ".join(re.sub("<[^>]*>", " ", html).split())


def now() -> datetime:
    return timezone.now()


def carry_out(command: ClaimRequest | ReleaseRequest | HandOver | EscalateRequest) -> None:
    use_cases_of: dict[type, Callable[..., Any]] = {
        ClaimRequest: use_cases.claim_request,
        ReleaseRequest: use_cases.release_request,
        HandOver: use_cases.hand_over,
        EscalateRequest: use_cases.escalate_request,
    }
    use_cases_of[type(command)](command, event_store=event_store(), policies=policies())


def test_the_read_models_of_the_staff_know(loan: UUID) -> None:
    for row in (PendingRequest.objects.get(), LoanRequest.objects.get(id=loan)):
        assert row.claimed_by == "ulf"
        assert row.claimed_until is not None
        assert (row.escalated_by, row.escalated_because) == ("ursula", TOO_LARGE)


@pytest.mark.parametrize("path", ["/loans/{}/", "/api/loan-requests/{}"])
def test_the_applicant_is_told_the_same_as_without_it(client: Client, path: str) -> None:
    untouched = append_requested_loan(score=5).loan_request_id
    claimed = append_requested_loan(score=5).loan_request_id
    carry_out(ClaimRequest(id=claimed, issued_at=now(), by="uma"))
    carry_out(EscalateRequest(id=claimed, issued_at=now(), by="uma", why=TOO_LARGE))
    catch_up()

    def told_of(id_: UUID) -> str:
        words = words_of(client.get(path.format(id_)).content.decode()).replace(str(id_), "")
        # Its number and the times are its own.
        return re.sub(r"\b(\w{4}-\w{4}-\w{4}|\d\d:\d\d(:\d\d)?)\b", "", words)

    assert "eview" in told_of(claimed)
    assert told_of(claimed) == told_of(untouched)


@pytest.mark.parametrize("path", ["/loans/{}/", "/api/loan-requests/{}"])
def test_the_applicant_learns_no_name_and_no_reason(client: Client, loan: UUID, path: str) -> None:
    answer = client.get(path.format(loan)).content.decode()
    for secret in ("uma", "ursula", "ulf", "Ursula", "Claimed", "claimed"):
        assert secret not in answer


@pytest.mark.usefixtures("underwriter")
def test_underwriters_read_in_words_what_has_happened(client: Client, loan: UUID) -> None:
    words = words_of(client.get(f"/underwriting/{loan}/").content.decode())
    happened = words[words.index("What has happened") :]
    expected = [
        "Claimed , uma until: ",
        "Released , uma",
        "Claimed , uma until: ",
        "Handed over , uma to: ursula; until: ",
        f"because: {WHY}",
        f"Escalated , ursula because: {TOO_LARGE}",
        "Claimed , ulf until: ",
    ]
    place = 0
    for each in expected:
        place = happened.index(each, place) + len(each)


def test_the_back_office_reads_who_did_what(client: Client, loan: UUID) -> None:
    client.force_login(make_clerk())
    path = f"/admin/readmodels/loanrequest/{loan}/change/"
    words = words_of(client.get(path).content.decode())
    place = 0
    for each in (
        "RequestClaimed uma",
        "RequestReleased uma",
        "RequestClaimed uma",
        "RequestHandedOver uma",
        "to: ursula",
        f"why: {WHY}",
        "RequestEscalated ursula",
        f"why: {TOO_LARGE}",
        "RequestClaimed ulf",
    ):
        place = words.index(each, place) + len(each)


def test_no_clerk_decides_on_what_is_shown(client: Client, loan: UUID) -> None:
    client.force_login(make_clerk())
    assert client.get(f"/underwriting/{loan}/").status_code == 403
    client.force_login(make_underwriter("una"))
    assert client.get(f"/underwriting/{loan}/").status_code == 200
