"""The pages with which underwriters say who works on a request."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, resolve_url
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST
from django_htmx.http import trigger_client_event

from lepret.common.formats import moment
from lepret.common.htmx import HtmxRequest
from lepret.staff.access import underwriter_required
from lepret.staff.roles import is_lead, underwriters
from loans.application import use_cases
from loans.application.use_cases import Answer
from loans.dependencies import event_store, policies
from loans.domain.commands import ClaimRequest, ReleaseRequest
from loans.domain.loan_request import ForLeads, Rejection, UnknownLoanRequest, WhyNeeded
from loans.web.applying import UNAVAILABLE
from loans.web.desk_answers import (
    after,
    back_to,
    in_words,
    not_recorded,
    notice,
    redirect_to,
    try_again,
)
from loans.web.desk_dialogs import Dialog, ask
from loans.web.forms import EscalateForm, HandOverForm

# How many of the requests that a page offers as the next one are looked at.
MOST_LOOKED_AT: Final = 50

HANDING_OVER: Final = Dialog("handing-over", "loans:hand-over", "Hand over")
ESCALATION: Final = Dialog(
    "escalation",
    "loans:escalate",
    "Escalate",
    hint="Only lead underwriters can work on it from then on, and nobody holds it at first.",
)

_QUICKER: Final = "Others were quicker, look again."
_NOTHING_LEFT: Final = "There is nothing to take at the moment. New requests appear in the list."


@never_cache
@underwriter_required
@require_POST
def claim(request: HtmxRequest, loan_request_id: UUID) -> HttpResponse:
    """Claim a request, or go on with the claim."""
    command = ClaimRequest(**_known(request, loan_request_id), as_lead=is_lead(request.user))
    use_case = partial(use_cases.claim_request, command)
    leads_to = resolve_url("readmodels:request", loan_request_id)
    return _carry_out(request, use_case, loan_request_id, leads_to=leads_to)


@never_cache
@underwriter_required
@require_POST
def release(request: HtmxRequest, loan_request_id: UUID) -> HttpResponse:
    """Let go of a request."""
    command = ReleaseRequest(**_known(request, loan_request_id))
    return _carry_out(request, partial(use_cases.release_request, command), loan_request_id)


@never_cache
@underwriter_required
@require_http_methods(["GET", "HEAD", "POST"])
def hand_over(request: HtmxRequest, loan_request_id: UUID) -> HttpResponse:
    """Ask to whom, then give a request to another underwriter."""
    sent = request.POST if request.method == "POST" else None
    known = {**_known(request, loan_request_id), "as_lead": is_lead(request.user)}
    form = HandOverForm(sent, known=known, underwriters=underwriters())
    if sent is None:
        return ask(request, HANDING_OVER, form, loan_request_id)
    if not form.is_valid():
        return ask(request, HANDING_OVER, form, loan_request_id, status=422)
    return _hand_over_with(request, form)


def _hand_over_with(request: HtmxRequest, form: HandOverForm) -> HttpResponse:
    use_case = partial(use_cases.hand_over, form.command)
    in_form = (WhyNeeded, ForLeads)
    try:
        return _carry_out(request, use_case, form.command.id, in_form=in_form)
    except WhyNeeded as rejection:
        form.add_error("why", str(rejection))
    except ForLeads as rejection:
        form.add_error("to", f"{rejection} Choose one of them.")
    return ask(request, HANDING_OVER, form, form.command.id, status=422)


@never_cache
@underwriter_required
@require_http_methods(["GET", "HEAD", "POST"])
def escalate(request: HtmxRequest, loan_request_id: UUID) -> HttpResponse:
    """Ask why, then leave a request to the leads."""
    if request.method != "POST":
        return ask(request, ESCALATION, EscalateForm(), loan_request_id)
    form = EscalateForm(request.POST, known=_known(request, loan_request_id))
    if not form.is_valid():
        return ask(request, ESCALATION, form, loan_request_id, status=422)
    return _carry_out(request, partial(use_cases.escalate_request, form.command), loan_request_id)


@never_cache
@underwriter_required
@require_POST
def take_next(request: HtmxRequest) -> HttpResponse:
    """Claim the first that can be claimed of the requests that the page offers, and lead to it."""
    ids = _ids_in(request.POST.getlist("ids")[:MOST_LOOKED_AT])
    if not ids:
        return not_recorded(request, _NOTHING_LEFT, status=200)
    try:
        answer = use_cases.claim_first_of(
            ids,
            by=request.user.get_username(),
            as_lead=is_lead(request.user),
            clock=timezone.now,
            event_store=event_store(),
            policies=policies(),
        )
    except UNAVAILABLE as loss:
        return try_again(request, loss)
    if answer is None:
        return not_recorded(request, _QUICKER, status=409)
    page = resolve_url("readmodels:request", answer.loan_request_id)
    return redirect_to(request, after(page, answer))


def _ids_in(typed: Iterable[str]) -> list[UUID]:
    """The ids among these. Others are of no request, so nothing is lost without them."""
    ids = []
    for each in typed:
        try:
            ids.append(UUID(each))
        except ValueError:
            continue
    return ids


def _known(request: HtmxRequest, loan_request_id: UUID) -> dict[str, Any]:
    by = request.user.get_username()
    return {"id": loan_request_id, "by": by, "issued_at": timezone.now()}


def _carry_out(
    request: HtmxRequest,
    use_case: Callable[..., Answer],
    loan_request_id: UUID,
    *,
    leads_to: str | None = None,
    in_form: tuple[type[Rejection], ...] = (),
) -> HttpResponse:
    """Carry out a command. Without a script, `leads_to` comes next, or the page it came from.

    Raises:
        Rejection: one of `in_form`, which is something to mend in the form.
    """
    back = back_to(request, loan_request_id)
    try:
        answer = use_case(event_store=event_store(), policies=policies())
    except in_form:
        raise
    except UnknownLoanRequest as rejection:
        raise Http404(str(rejection)) from None
    except Rejection as rejection:
        return not_recorded(request, in_words(rejection), status=409, leads_to=back)
    except UNAVAILABLE as loss:
        return try_again(request, loss, leads_to=back)
    text = _standing(answer, request.user.get_username())
    if not request.htmx:
        messages.success(request, text)
        return redirect(after(leads_to or back, answer))
    return _tell_who_holds(notice(request, text), answer)


def _standing(answer: Answer, username: str) -> str:
    """Who holds the request now."""
    state = answer.state
    assert state.application is not None, "what is claimed was requested"
    about = f"the request of {state.application.name}"
    held = state.held_at(timezone.now())
    if held is not None:
        who = "You hold" if held.by == username else f"{held.by} holds"
        return f"{who} {about} until {moment(held.until)}."
    if state.is_escalated and state.decision is None:
        return f"The lead underwriters decide on {about} now."
    return f"Nobody holds {about} now."


def _tell_who_holds(response: HttpResponse, answer: Answer) -> HttpResponse:
    """Let the page show it before the next frame comes."""
    held = answer.state.held_at(timezone.now())
    detail = {
        "id": str(answer.loan_request_id),
        "by": held.by if held else "",
        "until": held.until.isoformat() if held else "",
    }
    return trigger_client_event(response, "claimed" if held else "released", detail)
