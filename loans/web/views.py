"""The application form: form -> command -> one use case -> redirect or fragment."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final
from uuid import UUID

from django.http import HttpResponse, HttpResponseBadRequest
from django.shortcuts import render, resolve_url
from django.views import csrf
from django.views.decorators.cache import cache_control
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_POST

from lepret.common.callers import address_of
from lepret.common.formats import wait_in_words
from lepret.common.htmx import HtmxRequest
from lepret.common.origins import is_from_here
from lepret.staff.access import refusal_to_request, refused
from loans.dependencies import pace
from loans.domain.loan_request import IdAlreadyUsed, LoanRequestIsGone, Rejection
from loans.web import applying
from loans.web.applying import UNAVAILABLE, TooManyApplications
from loans.web.decided_before import DecidedBefore, decided_before, remember
from loans.web.desk_answers import after, not_recorded, redirect_to
from loans.web.forms import RequestLoanForm

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
        response = redirect_to(request, after(status_page, answer))
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
        return refused(request, refusal) if refusal else not_recorded(request, _RELOAD, status=403)
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
