"""The pages of the lending policy, in the back office's look: read it, propose, confirm, withdraw.

They read the policy's own stream, so that they show what has just been done.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Final, TypeVar, cast

import pydantic
from django.contrib import admin, messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from lepret.staff.access import policy_maker_required, policy_reader_required
from loans.dependencies import policies
from loans.domain.lending_policy import (
    POLICY_ID,
    ConfirmPolicy,
    EffectiveInThePast,
    UnknownVersion,
    Version,
    Versions,
    WithdrawPolicy,
    in_force,
    is_proposed_already,
    latest,
)
from loans.domain.loan_request import Rejection
from loans.domain.policy import PolicyInForce
from loans.web.applying import UNAVAILABLE
from loans.web.policy_in_words import about, changes, parts, state_of
from loans.web.policy_proposals import Proposal

_SEND_AGAIN: Final = (
    "The policy could not be recorded. What you typed is still here: please send it again in a "
    "minute."
)
_OTHERS_CAME: Final = (
    "Since you opened this form, version {number} was proposed by {by}. Look at what it changes. "
    "What you typed is still here: to propose it all the same, send it again."
)

View = TypeVar("View", bound=Callable[..., HttpResponseBase])


def _unless_away(view: View) -> View:
    """Say in the back office's look that the event store is away."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            return view(request, *args, **kwargs)
        except UNAVAILABLE:
            title = "Not available at the moment"
            is_command = request.method == "POST"
            return _page(request, "policy_away", title, status=503, is_command=is_command)

    return cast(View, guarded)


@never_cache
@policy_reader_required
@require_safe
@_unless_away
def overview(request: HttpRequest) -> HttpResponse:
    """The version in force, the one that waits for its confirmation, and all before."""
    versions, now = policies().versions(), timezone.now()
    current = in_force(versions, now)
    return _page(
        request,
        "policy",
        "Lending policy",
        current=current,
        version=_version(current.version, versions) if current.version else None,
        parts=parts(current.policy),
        proposed=next((each for each in versions if each.is_proposed), None),
        history=[(each, state_of(each, versions, now)) for each in reversed(versions)],
    )


@never_cache
@policy_reader_required
@require_safe
@_unless_away
def version(request: HttpRequest, number: int) -> HttpResponse:
    """A version: whose it is, what it changes, all of it, and what can be done with it."""
    versions, now = policies().versions(), timezone.now()
    this = _version(number, versions)
    base = _before(this, versions)
    return _page(
        request,
        "policy_version",
        f"Version {number} of the lending policy",
        version=this,
        state=state_of(this, versions, now),
        base=base,
        changes=changes(base.policy, this.policy),
        parts=parts(this.policy),
        is_own=this.proposed_by == request.user.get_username(),
        is_withdrawable=this.withdrawn_by is None and not this.is_in_force_by(now),
    )


@never_cache
@policy_maker_required
@require_http_methods(["GET", "HEAD", "POST"])
@_unless_away
def propose(request: HttpRequest) -> HttpResponse:
    """A form that begins with the latest version. What is proposed waits for somebody else."""
    if request.method != "POST":
        versions = policies().versions()
        return _form(request, Proposal.begun_from(latest(versions), seen=len(versions)))
    proposal = Proposal.sent(request.POST)
    if not proposal.is_valid(by=request.user.get_username()):
        return _form(request, proposal, status=422)
    try:
        return _propose(request, proposal)
    except Rejection as rejection:
        at = "effective_at" if isinstance(rejection, EffectiveInThePast) else None
        proposal.refuse(str(rejection), at=at)
        return _form(request, proposal, status=409)
    except UNAVAILABLE:
        proposal.refuse(_SEND_AGAIN)
        return _form(request, proposal, status=503)


@never_cache
@policy_maker_required
@require_POST
@_unless_away
def confirm(request: HttpRequest, number: int) -> HttpResponse:
    """Confirm the version that somebody else has proposed."""
    return _carry_out(request, ConfirmPolicy, number)


@never_cache
@policy_maker_required
@require_POST
@_unless_away
def withdraw(request: HttpRequest, number: int) -> HttpResponse:
    """Withdraw a version that is not in force yet."""
    return _carry_out(request, WithdrawPolicy, number)


def _propose(request: HttpRequest, proposal: Proposal) -> HttpResponse:
    versions = policies().versions()
    is_repeated = is_proposed_already(proposal.command, versions)
    if proposal.seen != len(versions) and versions and not is_repeated:
        last = versions[-1]
        proposal.see(len(versions))
        proposal.refuse(_OTHERS_CAME.format(number=last.number, by=last.proposed_by))
        return _form(request, proposal, status=409)
    policies().carry_out(proposal.command)
    return _shown(request, policies().versions()[-1])


def _carry_out(
    request: HttpRequest, kind: type[ConfirmPolicy | WithdrawPolicy], number: int
) -> HttpResponse:
    by = request.user.get_username()
    try:
        command = kind(id=POLICY_ID, issued_at=timezone.now(), by=by, version=number)
        policies().carry_out(command)
    except (pydantic.ValidationError, UnknownVersion):
        raise Http404 from None
    except Rejection as rejection:
        messages.error(request, str(rejection))
        return redirect("loans:policy-version", number)
    return _shown(request, _version(number, policies().versions()))


def _shown(request: HttpRequest, version: Version) -> HttpResponse:
    messages.success(request, about(version))
    return redirect("loans:policy-version", version.number)


def _version(number: int, versions: Versions) -> Version:
    if not 1 <= number <= len(versions):
        raise Http404
    return versions[number - 1]


def _before(version: Version, versions: Versions) -> PolicyInForce:
    """What is in force until this version is, or would be."""
    since = version.in_force_from or max(version.effective_at, version.proposed_at)
    return in_force(versions[: version.number - 1], since)


def _form(request: HttpRequest, proposal: Proposal, *, status: int = 200) -> HttpResponse:
    title = "Propose a version of the lending policy"
    return _page(request, "policy_propose", title, status=status, proposal=proposal)


def _page(
    request: HttpRequest, template: str, title: str, *, status: int = 200, **context: Any
) -> HttpResponse:
    # Who is let in here sees the head of the page, too.
    frame = {**admin.site.each_context(request), "has_permission": True, "title": title}
    return render(request, f"loans/{template}.html", {**frame, **context}, status=status)
