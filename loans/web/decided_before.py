"""Asks again when a browser has applied a moment ago with the same national ID, and got a decision.

Whoever has the form open in two tabs could otherwise be given two loans that are decided at once.
A signed cookie names the browser's latest requests, by ids alone: only the browser that has made a
request is told of it, since to others it would say who has applied. It counts for an hour: longer
than a form stays open beside another, and less than it takes to want a second loan.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from django.conf import settings
from django.core.signing import BadSignature, TimestampSigner
from django.http import HttpRequest, HttpResponse

from loans.application import use_cases
from loans.application.use_cases import Answer
from loans.dependencies import event_store
from loans.domain.commands import RequestLoan
from loans.domain.loan_request import Application, Decision, LoanRequestIsGone

WITHIN_SECONDS: Final = 3600
# Of a family, or of several people in an office.
_MOST_REMEMBERED: Final = 4


@dataclass(frozen=True)
class DecidedBefore:
    """A request that this browser made, and what was decided."""

    id: UUID
    application: Application
    decision: Decision


def decided_before(request: HttpRequest, command: RequestLoan) -> DecidedBefore | None:
    """What was decided lately on this browser's last request with the same national ID.

    `None` also for an application that is sent again, and for one whose applicant has seen that and
    wants another loan all the same.

    Raises:
        EventStoreUnavailable: no answer in time.
    """
    ids = _remembered(request)
    if command.id in ids:
        return None
    for loan_request_id in ids:
        try:
            state = use_cases.look_up(
                loan_request_id, now=command.issued_at, event_store=event_store()
            )
        except LoanRequestIsGone:
            continue
        application = state.application
        if application is None or application.national_id != command.national_id:
            continue
        if state.decision is None or request.POST.get("again") == str(loan_request_id):
            return None
        return DecidedBefore(loan_request_id, application, state.decision)
    return None


def remember(request: HttpRequest, response: HttpResponse, answer: Answer) -> None:
    """Have the browser remember the request that it has made."""
    others = [each for each in _remembered(request) if each != answer.loan_request_id]
    ids = [answer.loan_request_id, *others][:_MOST_REMEMBERED]
    response.set_cookie(
        _cookie_name(),
        _signer().sign(".".join(each.hex for each in ids)),
        max_age=WITHIN_SECONDS,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )


def _remembered(request: HttpRequest) -> list[UUID]:
    """The ids of the browser's requests, the latest first."""
    try:
        value = _signer().unsign(request.COOKIES.get(_cookie_name(), ""), max_age=WITHIN_SECONDS)
    except BadSignature:
        return []
    return [UUID(each) for each in value.split(".")]


def _signer() -> TimestampSigner:
    return TimestampSigner(salt=__name__)


def _cookie_name() -> str:
    return f"{settings.COOKIE_PREFIX}applied"
