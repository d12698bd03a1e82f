"""The pages with which underwriters say what they think of a request: decisions and notes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render, resolve_url
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST
from django_htmx.http import trigger_client_event

from lepret.common.htmx import HtmxRequest
from lepret.staff.access import underwriter_required
from lepret.staff.roles import is_lead
from loans.adapters.event_store import NewerVersionNeeded
from loans.application import use_cases
from loans.application.use_cases import Answer
from loans.dependencies import event_store, policies
from loans.domain.loan_request import (
    ReasonNotExplained,
    ReasonNotInPolicy,
    Rejection,
    UnknownLoanRequest,
)
from loans.web.applying import UNAVAILABLE
from loans.web.desk_answers import (
    BEING_UPDATED,
    after,
    in_words,
    not_recorded,
    notice,
    try_again,
)
from loans.web.desk_dialogs import Dialog, ask
from loans.web.forms import AddNoteForm, ApproveLoanForm, DenyLoanForm
from loans.web.opinions import recorded

APPROVAL: Final = Dialog("approval", "loans:approve", "Approve")
DENIAL: Final = Dialog("deny", "loans:deny", "Deny", fields="loans/_deny_fields.html")

_NOTE_TOO_LONG: Final = "A note is plain text of at most 500 characters."
_NOTE_AGAIN: Final = "The note could not be recorded. Please try again in a minute."


@never_cache
@underwriter_required
@require_http_methods(["GET", "HEAD", "POST"])
def approve(request: HtmxRequest, loan_request_id: UUID) -> HttpResponse:
    """Ask for a note, then approve a request that is under review."""
    if request.method != "POST":
        form = ApproveLoanForm(initial=_shown(request))
        return ask(request, APPROVAL, form, loan_request_id)
    form = ApproveLoanForm(request.POST, known=_known(request, loan_request_id))
    if form.is_valid():
        return _carry_out(request, partial(use_cases.approve_loan, form.command))
    if request.htmx and request.htmx.target != "dialog-problem":
        # It was sent from a page that has no place for what is wrong with a field.
        problem = " ".join(map(str, form.non_field_errors())) or _NOTE_TOO_LONG
        return not_recorded(request, problem, status=422)
    return ask(request, APPROVAL, form, loan_request_id, status=422)


@never_cache
@underwriter_required
@require_http_methods(["GET", "HEAD", "POST"])
def deny(request: HtmxRequest, loan_request_id: UUID) -> HttpResponse:
    """Ask for the reasons, then deny a request that is under review."""
    try:
        policy = policies().in_force(timezone.now()).policy
    except UNAVAILABLE as loss:
        return try_again(request, loss)
    if request.method != "POST":
        form = DenyLoanForm(policy=policy, initial=_shown(request))
        return ask(request, DENIAL, form, loan_request_id)
    form = DenyLoanForm(request.POST, policy=policy, known=_known(request, loan_request_id))
    if not form.is_valid():
        return ask(request, DENIAL, form, loan_request_id, status=422)
    return _deny_with(request, form)


def _deny_with(request: HtmxRequest, form: DenyLoanForm) -> HttpResponse:
    try:
        return _carry_out(request, partial(use_cases.deny_loan, form.command))
    except ReasonNotInPolicy as rejection:
        form.refuse_reason(rejection.code)
    except ReasonNotExplained as rejection:
        form.add_error("reason_text", str(rejection))
    return ask(request, DENIAL, form, form.command.id, status=422)


@never_cache
@underwriter_required
@require_POST
def add_note(request: HtmxRequest, loan_request_id: UUID) -> HttpResponse:
    """Note something on a request, however it stands."""
    known = {"id": loan_request_id, "by": request.user.get_username()}
    form = AddNoteForm(request.POST, known=known)
    if not form.is_valid():
        return _note_again(request, form, loan_request_id, status=422)
    try:
        answer = use_cases.add_note(form.command, event_store=event_store())
    except UnknownLoanRequest as rejection:
        raise Http404(str(rejection)) from None
    except Rejection as rejection:
        form.add_error(None, str(rejection))
        return _note_again(request, form, loan_request_id, status=409)
    except UNAVAILABLE as loss:
        form.add_error(None, _not_noted(loss))
        return _note_again(request, form, loan_request_id, status=503)
    if not request.htmx:
        return redirect(after(resolve_url("readmodels:request", loan_request_id), answer))
    blank = {"loan_request_id": loan_request_id, "text": "", "error": "", "problem": ""}
    return render(request, "loans/_note_added.html", blank)


def _note_again(
    request: HtmxRequest, form: AddNoteForm, loan_request_id: UUID, *, status: int
) -> HttpResponse:
    """The form with what was typed, and what is wrong with it."""
    context = {
        "loan_request_id": loan_request_id,
        "text": form["text"].value() or "",
        "error": " ".join(map(str, form.errors.get("text", []))),
        "problem": " ".join(map(str, form.non_field_errors())),
        "shown_revision": form["shown_revision"].value() or "",
    }
    template = "loans/_note_form.html" if request.htmx else "loans/note.html"
    return render(request, template, context, status=status)


def _not_noted(loss: Exception) -> str:
    return BEING_UPDATED if isinstance(loss, NewerVersionNeeded) else _NOTE_AGAIN


def _known(request: HtmxRequest, loan_request_id: UUID) -> dict[str, Any]:
    return {
        "id": loan_request_id,
        "decided_by": request.user.get_username(),
        "as_lead": is_lead(request.user),
    }


def _shown(request: HtmxRequest) -> dict[str, str]:
    return {"shown_revision": request.GET.get("shown_revision", "")}


def _carry_out(request: HtmxRequest, use_case: Callable[..., Answer]) -> HttpResponse:
    """Carry out a decision.

    Raises:
        ReasonNotInPolicy, ReasonNotExplained: there is something to mend in the form.
    """
    try:
        answer = use_case(event_store=event_store(), policies=policies())
        text = recorded(answer, request.user.get_username())
    except (ReasonNotInPolicy, ReasonNotExplained):
        raise
    except Rejection as rejection:
        return not_recorded(request, in_words(rejection), status=409)
    except UNAVAILABLE as loss:
        return try_again(request, loss)
    if not request.htmx:
        messages.success(request, text)
        return redirect(after(resolve_url("readmodels:underwriting"), answer))
    if answer.state.decision is None:
        return notice(request, text)
    decided = {"id": str(answer.loan_request_id), "outcome": answer.status.capitalize()}
    return trigger_client_event(notice(request, text), "decided", decided)
