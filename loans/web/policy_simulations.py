"""Pages on which policy makers ask what another policy would have done, and see the answer."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final, cast
from uuid import UUID, uuid4

from django import forms
from django.contrib import admin
from django.contrib.auth.models import User
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe
from django_htmx.http import HttpResponseStopPolling

from lepret.common.htmx import HtmxRequest
from lepret.staff.access import policy_maker_required
from lepret.staff.roles import is_back_office
from loans.adapters.event_store import EventStoreUnavailable
from loans.application import simulation_runs
from loans.application.policy_files import NoPolicy, policy_in
from loans.application.simulation_runs import AnotherRuns, Run, RunsUnavailable, Seen
from loans.dependencies import policies
from loans.domain.lending_policy import Version, Versions, in_force
from loans.domain.policy import VERSION_0, Policy
from loans.domain.policy_simulation import Simulated, Was, WouldBe, is_changed
from loans.web import simulation_processes

_PASTED: Final = "pasted"
_CACHE_AWAY: Final = (
    "Simulations cannot be started or shown at the moment: the cache, which keeps them, does not "
    "answer. Please try again in a minute."
)
_STORE_AWAY: Final = (
    "The stored versions cannot be shown at the moment: the event store does not answer."
)


class SimulationForm(forms.Form):
    """Which policy, and the requests of which days."""

    which = forms.ChoiceField(label="Policy")
    text = forms.CharField(
        label="As JSON",
        required=False,
        strip=False,
        help_text="Only for a policy that is pasted here. What it leaves out is as in version 0.",
        widget=forms.Textarea({"rows": 10, "cols": 60, "spellcheck": "false"}),
    )
    first = forms.DateField(
        label="From",
        required=False,
        help_text="Requests made on this day or later. Empty: from the first one on.",
        widget=forms.DateInput({"type": "date"}, format="%Y-%m-%d"),
    )
    last = forms.DateField(
        label="To",
        required=False,
        help_text="Requests made until then. Empty: up to now.",
        widget=forms.DateInput({"type": "date"}, format="%Y-%m-%d"),
    )
    policy: Policy

    def __init__(self, *args: Any, versions: Versions, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._versions = versions
        which = cast(forms.ChoiceField, self.fields["which"])
        which.choices = list(_choices(versions).items())

    @property
    def what(self) -> str:
        """The chosen policy in words."""
        which: str = self.cleaned_data["which"]
        return "a pasted policy" if which == _PASTED else _choices(self._versions)[which]

    def clean(self) -> dict[str, Any]:
        data = self.cleaned_data
        if data.get("first") and data.get("last") and data["first"] > data["last"]:
            self.add_error("last", "This is before the first day.")
        if data.get("which") == _PASTED:
            self._take_pasted(data.get("text", ""))
        elif data.get("which"):
            number = int(data["which"])
            self.policy = self._versions[number - 1].policy if number else VERSION_0.policy
        return data

    def _take_pasted(self, text: str) -> None:
        try:
            self.policy = policy_in(text.encode(errors="backslashreplace"))
        except NoPolicy as none:
            for problem in none.problems:
                self.add_error("text", problem)


def _choices(versions: Versions) -> dict[str, str]:
    """The newest version first, which may be proposed, and is what one wants to know of."""
    now = in_force(versions, timezone.now()).version
    named = {str(each.number): _name(each, now) for each in reversed(versions)}
    built_in = "Version 0, built in" + (", in force" if now == VERSION_0.version else "")
    return {**named, "0": built_in, _PASTED: "A policy that is pasted here"}


def _name(version: Version, now: int) -> str:
    if version.number == now:
        state = "in force"
    elif version.withdrawn_by is not None:
        state = "withdrawn"
    elif version.is_proposed:
        state = f"proposed by {version.proposed_by}"
    else:
        state = "was in force" if version.number < now else "confirmed"
    return f"Version {version.number}, {state}"


@never_cache
@policy_maker_required
@require_http_methods(["GET", "HEAD", "POST"])
def simulations(request: HttpRequest) -> HttpResponse:
    """Asks which policy to simulate, and starts it; shows those that were started before."""
    try:
        versions, problem = policies().versions(), ""
    except EventStoreUnavailable:
        versions, problem = (), _STORE_AWAY
    if request.method != "POST":
        chosen = {name: request.GET[name] for name in ("which",) if name in request.GET}
        return _ask(request, SimulationForm(versions=versions, initial=chosen), problem)
    form = SimulationForm(request.POST, versions=versions)
    if not form.is_valid():
        return _ask(request, form, problem, status=HTTPStatus.UNPROCESSABLE_ENTITY)
    return _start(request, form)


@never_cache
@policy_maker_required
@require_safe
def simulation(request: HtmxRequest, run_id: UUID) -> HttpResponse:
    """A simulation as it is now, or what came of it. The page asks again until it is over."""
    try:
        seen = simulation_runs.look(run_id)
    except RunsUnavailable:
        # The page goes on to ask: once the cache is back, it goes on where it was.
        status = HTTPStatus.OK if request.htmx else HTTPStatus.SERVICE_UNAVAILABLE
        return _show(request, {"title": "Simulation", "problem": _CACHE_AWAY}, status=status)
    if seen is None:
        raise Http404("There is no such simulation, or no longer.")
    response = _show(request, _shown(request, seen))
    if request.htmx and not seen.is_running:
        response.status_code = HttpResponseStopPolling.status_code
    return response


def _show(
    request: HtmxRequest, context: dict[str, Any], *, status: int = HTTPStatus.OK
) -> HttpResponse:
    """The page, or the part of it that changes."""
    if request.htmx:
        return render(request, "loans/_simulation.html", context, status=status)
    whole = {**admin.site.each_context(request), **context}
    return render(request, "loans/simulation.html", whole, status=status)


def _start(request: HttpRequest, form: SimulationForm) -> HttpResponse:
    user = cast(User, request.user)
    run = Run(
        id=uuid4(),
        by=user.get_username(),
        began_at=timezone.now(),
        what=form.what,
        policy=form.policy,
        first=form.cleaned_data["first"],
        last=form.cleaned_data["last"],
    )
    try:
        simulation_processes.start(run)
    except AnotherRuns as another:
        return _ask(request, form, status=HTTPStatus.CONFLICT, another=another)
    except RunsUnavailable:
        return _ask(request, form, _CACHE_AWAY, status=HTTPStatus.SERVICE_UNAVAILABLE)
    return redirect("loans:simulation", run.id)


def _ask(
    request: HttpRequest,
    form: SimulationForm,
    problem: str = "",
    *,
    status: int = HTTPStatus.OK,
    another: AnotherRuns | None = None,
) -> HttpResponse:
    try:
        newest = simulation_runs.newest()
    except RunsUnavailable:
        newest, problem = [], problem or _CACHE_AWAY
    context = {
        **admin.site.each_context(request),
        "title": "What another policy would have done",
        "form": form,
        "problem": problem,
        "another": another,
        "newest": newest,
    }
    return render(request, "loans/simulations.html", context, status=status)


def _shown(request: HttpRequest, seen: Seen) -> dict[str, Any]:
    context: dict[str, Any] = {
        "title": f"What would have been: {seen.run.what}",
        "seen": seen,
        "run": seen.run,
        "report": seen.run.report,
        "may_see_requests": is_back_office(cast(User, request.user)),
    }
    if seen.run.report is not None:
        context |= {
            "simulated": seen.run.report.simulated,
            "table": _table(seen.run.report.simulated),
        }
    return context


def _table(simulated: Simulated) -> dict[str, Any]:
    """The matrix, without columns that are empty: a head, and for each outcome its cells."""
    cells = {(cell.was, cell.would_be): cell for cell in simulated.matrix}
    columns = [each for each in WouldBe if any(cell.would_be is each for cell in simulated.matrix)]
    rows = [each for each in Was if any(cell.was is each for cell in simulated.matrix)]
    return {
        "columns": columns,
        "rows": [
            {
                "was": was,
                "cells": [
                    {
                        "found": cells.get((was, would_be)),
                        "is_changed": is_changed(was, would_be),
                    }
                    for would_be in columns
                ],
            }
            for was in rows
        ],
    }
