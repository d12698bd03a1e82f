"""What other underwriters have said of a request, in the open queue."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from django.utils import timezone
from playwright.sync_api import Locator, Page, expect

from loans.domain.events import ApprovalProposed, DenialProposed
from tests.e2e.conftest import Say
from tests.support.accessibility import faults
from tests.support.api import application
from tests.support.demo import Demo
from tests.support.pages import expect_live, row, someone, status


@pytest.fixture
def name() -> str:
    return someone()


@pytest.fixture
def loan(demo: Demo, underwriter: Page, colleague: Page, name: str) -> UUID:
    """A request that both queues show."""
    loan = UUID(demo.apply(application(score=5, name=name))["id"])
    for page in (underwriter, colleague):
        expect(row(page, name)).to_have_count(1)
    return loan


def approval(loan: UUID, by: str, **said: Any) -> ApprovalProposed:
    return ApprovalProposed(id=loan, occurred_at=timezone.now(), by=by, policy=0, **said)


def denial(loan: UUID, by: str) -> DenialProposed:
    reasons = ("too_much_debt",)
    return DenialProposed(id=loan, occurred_at=timezone.now(), by=by, reasons=reasons, policy=0)


def buttons(row: Locator) -> Locator:
    return row.get_by_role("button")


def test_who_would_approve_is_not_asked_again_and_the_others_see_why(
    underwriter: Page, colleague: Page, loan: UUID, say: Say, name: str
) -> None:
    mine, theirs = row(underwriter, name), row(colleague, name)
    buttons(mine).filter(has_text="Approve").focus()

    say(approval(loan, "underwriter", note="A customer for ten years."))

    expect(mine).to_contain_text("You would approve it")
    expect(buttons(mine)).to_have_text(["Claim", "Deny"])
    expect(mine).to_be_focused()
    expect(theirs).to_contain_text("underwriter would approve")
    expect(theirs).to_contain_text("A customer for ten years.")
    expect(theirs.get_by_text("Your approval decides.")).to_be_visible()
    expect(buttons(theirs)).to_have_text(["Claim", "Approve", "Deny"])
    assert [*faults(underwriter, "own"), *faults(colleague, "another's")] == []

    underwriter.reload()
    expect_live(underwriter)
    expect(buttons(mine)).to_have_text(["Claim", "Deny"])
    buttons(theirs).filter(has_text="Approve").click()
    expect(mine).to_have_count(0)


def test_a_disagreement_shows_in_every_queue_and_not_to_the_applicant(
    underwriter: Page, colleague: Page, applicant: Page, loan: UUID, say: Say, name: str
) -> None:
    applicant.goto(f"/loans/{loan}/")
    expect_live(applicant)
    say(approval(loan, "uma"))
    say(denial(loan, "underwriter"))
    for page in (underwriter, colleague):
        expect(row(page, name)).to_contain_text("Disagreement")
        expect(row(page, name)).to_contain_text("Too much debt")
        expect(buttons(row(page, name))).to_have_text(["Claim", "Approve", "Deny"])
    expect(row(underwriter, name).get_by_text("You would deny it")).to_be_visible()
    expect(row(colleague, name).get_by_text("Your opinion decides.")).to_be_visible()
    expect(status(applicant)).to_have_text("Under review")
    expect(applicant.locator("#loan-status")).not_to_contain_text("uma")

    # Who was against it may be persuaded.
    buttons(row(underwriter, name)).filter(has_text="Approve").click()
    expect(status(applicant)).to_have_text("Approved")
    expect(applicant.locator(".explanation")).to_contain_text("Approved by two underwriters")
