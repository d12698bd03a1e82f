"""The arguments that `manage.py project` refuses."""

from __future__ import annotations

import pytest
from django.core.management import CommandError, call_command

from readmodels.models import SkippedEvent
from readmodels.projector import failures
from tests.support.projection_statuses import failure

pytestmark = pytest.mark.django_db

WHY = "its amount was never ours"


@pytest.fixture(autouse=True)
def _loan_status_is_stopped_at_7() -> None:
    failure("loan_status")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--skip", "7"], "Say with --why why the event is left out"),
        (["--skip", "7", "--why", "  "], "Say with --why why the event is left out"),
        (["--skip", "1", "--why", WHY], "Nothing is stopped at 1."),
        (["--skip", "1", "--why", WHY, "loan_status"], "loan_status is not stopped at 1."),
        (
            ["--skip", "7", "--why", WHY, "loan_status", "loan_requests"],
            "loan_requests is not stopped at 7.",
        ),
        (["--skip", "7", "--why", WHY, "loans"], "No projection loans."),
        (["--why", WHY], "--why and --by go with --skip."),
        (["--by", "rita", "--once"], "--why and --by go with --skip."),
        (["--skip", "7", "--why", WHY, "--once"], "not allowed with argument"),
        (["--skip", "7", "--why", WHY, "--retry", "loan_status"], "not allowed with"),
        (["--skip", "here", "--why", WHY], "invalid int value"),
    ],
)
def test_skipping_is_refused_where_it_makes_no_sense(arguments: list[str], complaint: str) -> None:
    with pytest.raises(CommandError) as refusal:
        call_command("project", *arguments)
    assert complaint in str(refusal.value)
    assert failures.is_stopped("loan_status")
    assert not SkippedEvent.objects.exists()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--retry", "loan_status", "loan_requests"], "loan_requests is not stopped."),
        (["--retry", "loans"], "No projection loans. There are: "),
        (["--retry"], "expected at least one argument"),
        (["--retry", "loan_status", "--why", WHY], "--why and --by go with --skip."),
        (["--retry", "loan_status", "--once"], "not allowed with argument"),
    ],
)
def test_retrying_is_refused_where_it_makes_no_sense(arguments: list[str], complaint: str) -> None:
    with pytest.raises(CommandError) as refusal:
        call_command("project", *arguments)
    assert complaint in str(refusal.value)
    assert failures.is_stopped("loan_status")


def test_an_unknown_projection_is_answered_with_those_that_there_are() -> None:
    with pytest.raises(CommandError) as refusal:
        call_command("project", "loan_status", "loans", "nothing")
    assert str(refusal.value) == (
        "No projection loans, nothing. There are: "
        "underwriters_queue, loan_status, loan_requests, parked_credit_checks, "
        "search_words, lending_policies."
    )
