"""From a command over HTTP to a frame on a websocket, through every process of a real demo."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

import pytest

from tests.support.api import application
from tests.support.demo import Demo
from tests.support.nodes import Underwriter
from tests.support.processes import wait_until
from tests.support.web_servers import no_row, row, wait_for_frame


@pytest.fixture
def underwriter(demo: Demo) -> Iterator[Underwriter]:
    with demo.browser("underwriter", "underwriter") as browser:
        yield Underwriter(demo, browser)


def apply_for_review(demo: Demo) -> UUID:
    """Apply through the API for a loan that goes to an underwriter."""
    answer = demo.apply(application(score=5))
    assert answer["status"] == "under_review"
    return UUID(answer["id"])


def test_a_request_appears_on_an_open_page_and_leaves_it_with_the_decision(
    demo: Demo, underwriter: Underwriter
) -> None:
    with underwriter.queue() as queue:
        body = application(score=5)
        demo.apply(body)
        loan = UUID(body["id"])
        assert "Ann Example" in wait_for_frame(queue, row(loan))

        with demo.websocket(f"/ws/loans/{loan}/") as applicant:
            wait_for_frame(applicant, "Under review")
            underwriter.approve(loan)
            wait_for_frame(queue, no_row(loan))
            assert body["national_id"] not in wait_for_frame(applicant, "Approved")


def test_after_web_and_projector_were_killed_a_new_connection_shows_the_current_queue(
    demo: Demo, underwriter: Underwriter
) -> None:
    decided, pending = apply_for_review(demo), apply_for_review(demo)
    with demo.websocket("/ws/underwriting/", underwriter.browser) as queue:
        wait_for_frame(queue, row(pending))

        demo.kill("project")
        underwriter.approve(decided)
        new = apply_for_review(demo)
        demo.kill("web")

    wait_until(demo.is_ready)
    wait_until(lambda: underwriter.sees(new))
    with demo.websocket("/ws/underwriting/", underwriter.browser) as queue:
        listed = wait_for_frame(queue, '<div id="queue">')
    assert row(pending) in listed
    assert row(new) in listed
    assert row(decided) not in listed
