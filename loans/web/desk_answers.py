"""How the underwriters' pages are answered: a notice, or a redirect where there is no script."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Final
from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render, resolve_url
from django_htmx.http import HttpResponseClientRedirect, reswap, retarget, trigger_client_event

from lepret.common.formats import moment
from lepret.common.htmx import HtmxRequest
from loans.adapters.event_store import NewerVersionNeeded
from loans.application.use_cases import Answer
from loans.domain.loan_request import ClaimedByAnother, Rejection

BEING_UPDATED: Final = (
    "This site is being updated, and cannot work on this request yet. Nothing was recorded. "
    "Please try again in a few minutes."
)
_SEND_AGAIN: Final = "It could not be recorded. Please try again in a minute."
_LOOK_AGAIN: Final = "The request cannot be shown at the moment. Please try again in a minute."


def redirect_to(request: HtmxRequest, url: str) -> HttpResponse:
    """Lead the browser to a page."""
    return HttpResponseClientRedirect(url) if request.htmx else redirect(url)


def after(url: str, answer: Answer) -> str:
    """The URL with which the page waits until it shows what the command has recorded."""
    return f"{url}?after={answer.position}"


def back_to(request: HtmxRequest, loan_request_id: UUID) -> str:
    """The page that a form was on, if it says so: that of the request, or else the list."""
    sent = request.POST if request.method == "POST" else request.GET
    if sent.get("back") == "request":
        return resolve_url("readmodels:request", loan_request_id)
    return resolve_url("readmodels:underwriting")


def in_words(rejection: Rejection) -> str:
    """Why an underwriter cannot do something, and what else there is to do."""
    if isinstance(rejection, ClaimedByAnother):
        until = moment(rejection.until)
        return (
            f"{rejection.by} works on this request until {until}, so nothing was recorded. Take "
            f"another one, or ask {rejection.by} to hand it over to you."
        )
    return str(rejection)


def not_recorded(
    request: HtmxRequest, text: str, *, status: int, leads_to: str = "readmodels:underwriting"
) -> HttpResponse:
    """Tell the underwriter why, and have the page load its list, which may be out of date."""
    if not request.htmx:
        messages.error(request, text)
        return redirect(leads_to)
    return trigger_client_event(notice(request, text, status=status), "outdated", after="swap")


def try_again(
    request: HtmxRequest, loss: Exception, *, leads_to: str = "readmodels:underwriting"
) -> HttpResponse:
    """Nothing was recorded, and what somebody has filled in stays as it is."""
    text = _SEND_AGAIN if request.method == "POST" else _LOOK_AGAIN
    if isinstance(loss, NewerVersionNeeded):
        text = BEING_UPDATED
    if not request.htmx:
        messages.error(request, text)
        return redirect(leads_to)
    return notice(request, text, status=503, belongs_in=("notices", "dialog-problem"))


def notice(
    request: HtmxRequest,
    text: str,
    *,
    status: int = 200,
    belongs_in: Sequence[str] = ("notices",),
) -> HttpResponse:
    """A notice where the page expects one, or else above the older ones on the page."""
    context = {"text": text, "is_error": status != HTTPStatus.OK}
    shown = render(request, "loans/_notice.html", context, status=status)
    if request.htmx.target in belongs_in:
        return shown
    return reswap(retarget(shown, "#notices"), "afterbegin")
