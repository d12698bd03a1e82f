"""The pages that send commands: form -> command -> one use case -> redirect or fragment."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from typing import Any, Final
from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse, HttpResponseBadRequest
from django.shortcuts import redirect, render, resolve_url
from django.utils import timezone
from django.views import csrf
from django.views.decorators.cache import cache_control, never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_POST
from django_htmx.http import HttpResponseClientRedirect, reswap, retarget, trigger_client_event

from lepret.common.callers import address_of
from lepret.common.formats import wait_in_words
from lepret.common.htmx import HtmxRequest
from lepret.common.origins import is_from_here
from lepret.staff.access import refusal_to_request, refused, underwriter_required
from loans.adapters.event_store import NewerVersionNeeded
from loans.application import use_cases
from loans.application.use_cases import Answer
from loans.dependencies import event_store, pace
from loans.domain.loan_request import IdAlreadyUsed, LoanRequestIsGone, Rejection
from loans.web import applying
from loans.web.applying import UNAVAILABLE, TooManyApplications
from loans.web.decided_before import DecidedBefore, decided_before, remember
from loans.web.forms import ApproveLoanForm, DenyLoanForm, RequestLoanForm

_APPLY_AGAIN: Final = (
    "We cannot take your application at the moment. What you typed is still here: please send it "
    "again in a minute."
)
_OPEN_TOO_LONG: Final = (
    "This page was open for too long, or your browser does not keep cookies for this site. What "
    "you typed is still here: please send it again."
)
_RELOAD: Final = (
    "Nothing was recorded: this page is from before your last login, or your browser does not keep "
    "cookies for this site. Reload it, and decide again."
)
_NOTE_TOO_LONG: Final = "A note is plain text of at most 500 characters."
_DECIDE_AGAIN: Final = "The decision could not be recorded. Please try again in a minute."
_LOOK_AGAIN: Final = "The request cannot be shown at the moment. Please try again in a minute."
_BEING_UPDATED: Final = (
    "This site is being updated, and cannot decide on this request yet. Nothing was recorded. "
    "Please try again in a few minutes."
)
_WHY_ANOTHER: Final[Mapping[type[Rejection], str]] = {
    IdAlreadyUsed: (
        "This form was sent before, as another application. To make this one too, send it again."
    ),
    LoanRequestIsGone: (
        "This form was sent before, and the record of that request was deleted here since. To "
        "apply once more, send it again."
    ),
}
_TOO_MANY: Final = "{problem} What you typed is still here: please send it again in {when}."


@require_http_methods(["GET", "HEAD", "POST"])
def apply(request: HtmxRequest) -> HttpResponse:
    """The application form. An accepted application leads to the request's status page."""
    if request.method != "POST":
        return _blank_form(request)
    form = RequestLoanForm(request.POST)
    if not form.is_valid():
        return _form_again(request, form, status=422)
    return _apply_with(request, form)


# It changes nothing, and must still work when the page's token has expired.
@csrf_exempt
@require_POST
def validate(request: HtmxRequest) -> HttpResponse:
    """The error message, if any, for the field that someone is typing in."""
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
        problem = " ".join(map(str, form.non_field_errors())) or _NOTE_TOO_LONG
        return _not_decided(request, problem, status=422)
    approve_loan = partial(use_cases.approve_loan, form.command, event_store=event_store())
    return _carry_out(request, approve_loan)


@never_cache
@underwriter_required
@require_http_methods(["GET", "HEAD", "POST"])
def deny(request: HtmxRequest, loan_request_id: UUID) -> HttpResponse:
    """Ask for the reason, then deny a request that is under review."""
    if request.method != "POST":
        form = DenyLoanForm(initial={"shown_revision": request.GET.get("shown_revision", "")})
        return _ask_reason(request, form, loan_request_id)
    form = DenyLoanForm(request.POST, known=_known(request, loan_request_id))
    if not form.is_valid():
        return _ask_reason(request, form, loan_request_id, status=422)
    deny_loan = partial(use_cases.deny_loan, form.command, event_store=event_store())
    return _carry_out(request, deny_loan)


def _apply_with(request: HtmxRequest, form: RequestLoanForm) -> HttpResponse:
    with pace().application() as this:
        try:
            if decided := decided_before(request, form.command):
                return _form_again(request, form, status=409, decided=decided)
            answer = applying.request_loan(
                form.command, address=address_of(request), application=this
            )
        except (IdAlreadyUsed, LoanRequestIsGone) as rejection:
            this.is_refused = True
            return _form_for_another(request, form, _WHY_ANOTHER[type(rejection)])
        except Rejection as rejection:
            this.is_refused = True
            return _form_again(request, form, str(rejection), status=409)
        except TooManyApplications as refusal:
            return _later(request, form, refusal)
        except UNAVAILABLE:
            return _form_again(request, form, _APPLY_AGAIN, status=503)
        status_page = resolve_url("readmodels:status", answer.loan_request_id)
        response = _redirect_to(request, _after(status_page, answer))
        remember(request, response, answer)
        return response


# Not `no-store`: going back shows the form that was sent, and sending it again is the same request.
@cache_control(private=True, no_cache=True)
def _blank_form(request: HtmxRequest) -> HttpResponse:
    return render(request, "loans/apply.html", {"form": RequestLoanForm.blank()})


def _later(
    request: HtmxRequest, form: RequestLoanForm, refusal: TooManyApplications
) -> HttpResponse:
    when = wait_in_words(refusal.retry_after)
    response = _form_again(request, form, _TOO_MANY.format(problem=refusal, when=when), status=429)
    response["Retry-After"] = str(math.ceil(refusal.retry_after))
    return response


def _form_for_another(request: HtmxRequest, form: RequestLoanForm, problem: str) -> HttpResponse:
    """The form of a request that was made already, for another one: it says so, and asks."""
    seen = form.command.id
    form.take_new_id()
    return _form_again(request, form, problem, status=409, seen=seen)


def csrf_failure(request: HtmxRequest, reason: str = "") -> HttpResponse:
    """The answer to a form without a valid CSRF token."""
    if request.resolver_match and request.resolver_match.view_name == "loans:apply":
        return _form_with_new_token(request)
    if request.htmx:
        refusal = refusal_to_request(request)
        return refused(request, refusal) if refusal else _not_decided(request, _RELOAD, status=403)
    return csrf.csrf_failure(request, reason)


def _form_with_new_token(request: HtmxRequest) -> HttpResponse:
    form = RequestLoanForm(request.POST)
    if not is_from_here(request):
        # Another site may have chosen the id, and could then look at the request.
        form.take_new_id()
    return _form_again(request, form, _OPEN_TOO_LONG, status=403)


def _form_again(
    request: HtmxRequest,
    form: RequestLoanForm,
    problem: str = "",
    *,
    status: int,
    decided: DecidedBefore | None = None,
    seen: UUID | None = None,
) -> HttpResponse:
    """`seen`: a request that the applicant was told of, and need not be asked about once more."""
    if problem:
        form.add_error(None, problem)
    template = "loans/_apply_form.html" if request.htmx else "loans/apply.html"
    return render(
        request, template, {"form": form, "decided": decided, "seen": seen}, status=status
    )


def _redirect_to(request: HtmxRequest, url: str) -> HttpResponse:
    return HttpResponseClientRedirect(url) if request.htmx else redirect(url)


def _after(url: str, answer: Answer) -> str:
    """The URL with which the page waits until it shows what the command has recorded."""
    return f"{url}?after={answer.position}"


def _known(request: HtmxRequest, loan_request_id: UUID) -> dict[str, Any]:
    return {"id": loan_request_id, "decided_by": request.user.get_username()}


def _ask_reason(
    request: HtmxRequest, form: DenyLoanForm, loan_request_id: UUID, *, status: int = 200
) -> HttpResponse:
    try:
        # Whom it is about is read anew each time: nothing that the browser sends can say so.
        application = use_cases.under_review(
            loan_request_id, now=timezone.now(), event_store=event_store()
        )
    except Rejection as rejection:
        return _not_decided(request, str(rejection), status=409)
    except UNAVAILABLE as loss:
        return _try_again(request, loss)
    context = {"form": form, "loan_request_id": loan_request_id, "application": application}
    if not request.htmx:
        return render(request, "loans/deny.html", context, status=status)
    in_dialog = render(request, "loans/_deny_form.html", context, status=status)
    return retarget(in_dialog, "#deny-dialog-content")


def _carry_out(request: HtmxRequest, use_case: Callable[[], Answer]) -> HttpResponse:
    try:
        answer = use_case()
    except Rejection as rejection:
        return _not_decided(request, str(rejection), status=409)
    except UNAVAILABLE as loss:
        return _try_again(request, loss)
    assert answer.state.application is not None, "what is decided was requested"
    outcome = answer.status.capitalize()
    text = f"{outcome}: {answer.state.application.name}."
    if not request.htmx:
        messages.success(request, text)
        return redirect(_after(resolve_url("readmodels:underwriting"), answer))
    decided = {"id": str(answer.loan_request_id), "outcome": outcome}
    return trigger_client_event(_notice(request, text), "decided", decided)


def _not_decided(request: HtmxRequest, text: str, *, status: int) -> HttpResponse:
    """Tell the underwriter why, and have the page load its list, which may be out of date."""
    if not request.htmx:
        messages.error(request, text)
        return redirect("readmodels:underwriting")
    return trigger_client_event(_notice(request, text, status=status), "outdated", after="swap")


def _try_again(request: HtmxRequest, loss: Exception) -> HttpResponse:
    """Nothing was recorded, and what somebody has filled in stays as it is."""
    text = _DECIDE_AGAIN if request.method == "POST" else _LOOK_AGAIN
    if isinstance(loss, NewerVersionNeeded):
        text = _BEING_UPDATED
    if not request.htmx:
        messages.error(request, text)
        return redirect("readmodels:underwriting")
    return _notice(request, text, status=503, belongs_in=("notices", "deny-problem"))


def _notice(
    request: HtmxRequest,
    text: str,
    *,
    status: int = 200,
    belongs_in: Sequence[str] = ("notices",),
) -> HttpResponse:
    """A notice where the page expects one, or else above the older ones on the page."""
    context = {"text": text, "is_error": status != HTTPStatus.OK}
    notice = render(request, "loans/_notice.html", context, status=status)
    if request.htmx.target in belongs_in:
        return notice
    return reswap(retarget(notice, "#notices"), "afterbegin")
