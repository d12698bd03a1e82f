"""Where an applicant who has lost a request's address finds it, by its number and the national ID.

Whoever tries is told the same, after the same work, whether there is no such number or the national
ID is another one. Tries in vain are limited, as applications are.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final
from uuid import UUID

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from lepret.common.callers import address_of, network_of
from lepret.common.formats import wait_in_words
from lepret.common.rate_limits import COUNTERS, Counted, RateLimits
from lepret.common.request_numbers import EXAMPLE, NoNumber, ids_with, number_of
from readmodels.models import LoanRequest

logger = logging.getLogger(__name__)

# Returns a national ID as requests have it; a `ValueError`'s text says what is wrong with it.
NationalIdRule = Callable[[str], str]

_NOT_FOUND: Final = (
    "There is no request with this number and this national ID. Please check both. A request that "
    "was made a moment ago is found in a minute."
)
_NO_NUMBER: Final = f"A number has twelve letters and digits, such as {EXAMPLE}."
_TOO_MANY: Final = (
    "There were too many tries from here, or for this number. Please try again in {when}."
)

_limits: Final = RateLimits(COUNTERS)


class FindForm(forms.Form):
    """The number and the national ID. Plain fields, as in the form of an application."""

    number = forms.Field(
        label="Number of your request",
        help_text=f"Twelve letters and digits, such as {EXAMPLE}.",
        error_messages={"required": "Enter the number."},
        widget=forms.TextInput(
            {"autocapitalize": "characters", "autocomplete": "off", "spellcheck": "false"}
        ),
    )
    national_id = forms.Field(
        label="National ID",
        error_messages={"required": "Enter the national ID."},
        widget=forms.TextInput({"autocapitalize": "none", "spellcheck": "false"}),
    )

    def __init__(self, *args: Any, rule: NationalIdRule) -> None:
        super().__init__(*args)
        self._rule = rule

    def clean_number(self) -> tuple[UUID, UUID]:
        try:
            return ids_with(self.cleaned_data["number"])
        except NoNumber:
            raise ValidationError(_NO_NUMBER) from None

    def clean_national_id(self) -> str:
        try:
            return self._rule(self.cleaned_data["national_id"])
        except ValueError as error:
            raise ValidationError(str(error)) from None


class TooManyTries(Exception):
    """An address or a number is at its limit. `retry_after`: seconds until the next window."""

    def __init__(self, retry_after: float) -> None:
        super().__init__()
        self.retry_after = retry_after


def find(rule: NationalIdRule) -> Callable[[HttpRequest], HttpResponse]:
    """The view, with the rule for national IDs, which is the write side's."""

    @require_http_methods(["GET", "HEAD", "POST"])
    def view(request: HttpRequest) -> HttpResponse:
        if request.method != "POST":
            return _page(request, FindForm(rule=rule))
        form = FindForm(request.POST, rule=rule)
        if not form.is_valid():
            return _page(request, form, status=HTTPStatus.UNPROCESSABLE_ENTITY)
        return _look_up(request, form)

    return view


def _look_up(request: HttpRequest, form: FindForm) -> HttpResponse:
    first, last = form.cleaned_data["number"]
    try:
        counted = _count(address_of(request), first)
    except TooManyTries as refusal:
        return _later(request, form, refusal.retry_after)
    found = LoanRequest.objects.filter(
        id__range=(first, last), national_id=form.cleaned_data["national_id"]
    ).first()
    if found is None:
        form.add_error(None, _NOT_FOUND)
        return _page(request, form, status=HTTPStatus.NOT_FOUND)
    for each in counted:
        COUNTERS.decrement(each.key)
    return redirect("readmodels:status", found.id)


def _later(request: HttpRequest, form: FindForm, seconds: float) -> HttpResponse:
    form.add_error(None, _TOO_MANY.format(when=wait_in_words(seconds)))
    response = _page(request, form, status=HTTPStatus.TOO_MANY_REQUESTS)
    response["Retry-After"] = str(math.ceil(seconds))
    return response


def _page(request: HttpRequest, form: FindForm, *, status: int = HTTPStatus.OK) -> HttpResponse:
    return render(request, "readmodels/find.html", {"form": form}, status=status)


def _count(address: str, first_id: UUID) -> list[Counted]:
    """Count a try before it is made, so that of many at once none is too many."""
    network = network_of(address)
    counted = _limits.count(
        *(
            _limits.window(purpose, who, rate)
            for purpose, who, rate in (
                ("lookups-from", network, settings.LOOKUPS_PER_ADDRESS),
                ("lookups-of", number_of(first_id), settings.LOOKUPS_PER_NUMBER),
            )
            if rate is not None
        )
    )
    if counted and not counted[-1].is_allowed:
        raise _refusal(counted[-1], network)
    return counted


def _refusal(counted: Counted, network: str) -> TooManyTries:
    if counted.is_first_refusal:
        purpose, rate = counted.key.partition(":")[0], counted.rate
        logger.warning(
            *("More than %d %s in %d s, the last one from %s", rate.calls, purpose),
            *(rate.seconds, network),
        )
    return TooManyTries(counted.wait)
