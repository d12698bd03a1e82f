"""Where people give commands: form -> command -> one use case -> redirect or fragment."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Any, Final
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest
from django.shortcuts import redirect, render, resolve_url
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST
from django_htmx.http import HttpResponseClientRedirect, retarget, trigger_client_event
from django_htmx.middleware import HtmxDetails

from lepret.roles import underwriter_required
from loans import use_cases
from loans.dependencies import credit_bureau, event_store, reservations
from loans.domain.loan_request import IdAlreadyUsed, Rejection
from loans.domain.reservation import OpenRequestExists
from loans.event_store import EventStoreUnavailable, StaleRevision
from loans.forms import ApproveLoanForm, DenyLoanForm, RequestLoanForm
from loans.use_cases import Answer

_APPLY_AGAIN: Final = (
    "We cannot take your application at the moment. What you typed is still here: please send it "
    "again in a minute."
)
_DECIDE_AGAIN: Final = "The decision could not be recorded. Please try again in a minute."
_USED_BEFORE: Final = (
    "This form was sent before, as another application. To make this one too, send it again."
)
_UNAVAILABLE: Final = (EventStoreUnavailable, StaleRevision)


class HtmxRequest(HttpRequest):
    """A request behind django-htmx's middleware."""

    htmx: HtmxDetails


@never_cache
@require_http_methods(["GET", "POST"])
def apply(request: HtmxRequest) -> HttpResponse:
    """The application form; once accepted, on to the page that shows how the request stands."""
    if request.method == "GET":
        return render(request, "loans/apply.html", {"form": RequestLoanForm.blank()})
    form = RequestLoanForm(request.POST)
    if not form.is_valid():
        return _form_again(request, form, status=422)
    try:
        answer = use_cases.request_loan(
            form.command,
            event_store=event_store(),
            credit_bureau=credit_bureau(),
            reservations=reservations(),
        )
    except IdAlreadyUsed:
        form.take_new_id()
        return _form_again(request, form, _USED_BEFORE, status=409)
    except OpenRequestExists as rejection:
        return _form_again(request, form, str(rejection), status=409)
    except _UNAVAILABLE:
        return _form_again(request, form, _APPLY_AGAIN, status=503)
    status_page = resolve_url("readmodels:status", answer.loan_request_id)
    return _see(request, _after(status_page, answer))


@require_POST
def validate(request: HtmxRequest) -> HttpResponse:
    """What is wrong with the one field that is being typed in, for the place beside it."""
    form = RequestLoanForm(request.POST)
    name = request.GET.get("field", "")
    if name not in form.fields:
        return HttpResponseBadRequest("Name a field of the form in the parameter `field`.")
    return render(request, "loans/_field_error.html", {"field": form[name]})


@never_cache
@underwriter_required
@require_POST
def approve(request: HtmxRequest, loan_request_id: UUID) -> HttpResponse:
    """Approve a request that is under review."""
    form = ApproveLoanForm(request.POST, known=_known(request, loan_request_id))
    if not form.is_valid():
        return _decision(request, "A note is plain text of at most 500 characters.", status=422)
    approve_loan = partial(use_cases.approve_loan, form.command, event_store=event_store())
    return _carry_out(request, approve_loan)


@never_cache
@underwriter_required
@require_http_methods(["GET", "POST"])
def deny(request: HtmxRequest, loan_request_id: UUID) -> HttpResponse:
    """Ask for the reason, then deny a request that is under review."""
    if request.method == "GET":
        return _ask_reason(request, DenyLoanForm(), loan_request_id)
    form = DenyLoanForm(request.POST, known=_known(request, loan_request_id))
    if not form.is_valid():
        return _ask_reason(request, form, loan_request_id, status=422)
    deny_loan = partial(use_cases.deny_loan, form.command, event_store=event_store())
    return _carry_out(request, deny_loan)


def _form_again(
    request: HtmxRequest, form: RequestLoanForm, problem: str = "", *, status: int
) -> HttpResponse:
    if problem:
        form.add_error(None, problem)
    template = "loans/_apply_form.html" if request.htmx else "loans/apply.html"
    return render(request, template, {"form": form}, status=status)


def _see(request: HtmxRequest, url: str) -> HttpResponse:
    return HttpResponseClientRedirect(url) if request.htmx else redirect(url)


def _after(url: str, answer: Answer) -> str:
    """The page at `url`, as soon as it shows what the command has recorded."""
    return f"{url}?after={answer.position}"


def _known(request: HtmxRequest, loan_request_id: UUID) -> dict[str, Any]:
    return {"id": loan_request_id, "decided_by": request.user.get_username()}


def _ask_reason(
    request: HtmxRequest, form: DenyLoanForm, loan_request_id: UUID, *, status: int = 200
) -> HttpResponse:
    context = {"form": form, "loan_request_id": loan_request_id}
    if not request.htmx:
        return render(request, "loans/deny.html", context, status=status)
    # A decision's answer goes to the notices; the form, asked for or with errors, to its dialog.
    form_again = render(request, "loans/_deny_form.html", context, status=status)
    return retarget(form_again, "#deny-dialog-content")


def _carry_out(request: HtmxRequest, use_case: Callable[[], Answer]) -> HttpResponse:
    try:
        answer = use_case()
    except Rejection as rejection:
        return _decision(request, str(rejection), status=409)
    except _UNAVAILABLE:
        return _decision(request, _DECIDE_AGAIN, status=503)
    assert answer.state.application is not None, "what is decided was requested"
    text = f"{answer.status.capitalize()}: {answer.state.application.name}."
    if not request.htmx:
        messages.success(request, text)
        return redirect(_after(resolve_url("readmodels:underwriting"), answer))
    return _decision(request, text)


def _decision(request: HtmxRequest, text: str, *, status: int = 200) -> HttpResponse:
    """Tell the underwriter what became of the decision; the row leaves by way of the read side."""
    is_error = status != HTTPStatus.OK
    if not request.htmx:
        messages.error(request, text)
        return redirect("readmodels:underwriting")
    context = {"text": text, "is_error": is_error}
    notice = render(request, "loans/_notice.html", context, status=status)
    return trigger_client_event(notice, "decision")
