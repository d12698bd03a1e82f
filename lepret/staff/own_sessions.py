"""The page on which members of staff see where they are logged in, and end it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django import forms
from django.conf import settings
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone

from lepret.common.keyed_hashes import keyed_hash
from lepret.staff import logins, sessions
from lepret.staff.credentials import WithCurrentPassword
from lepret.staff.login import page_with_secrets
from lepret.staff.roles import login_required
from lepret.staff.session_store import SessionStore

# What User-Agent headers hold: the first that fits counts, since most name others, too.
_BROWSERS: Final = {
    "Edge": "Edg",
    "Opera": "OPR/",
    "Firefox": "Firefox|FxiOS",
    "Chrome": "Chrom|CriOS",
    "Safari": "Safari",
}
_SYSTEMS: Final = {
    "Windows": "Windows",
    "Android": "Android",
    "iPhone": "iPhone",
    "iPad": "iPad",
    "macOS": "Mac OS X|Macintosh",
    "Linux": "Linux|CrOS",
}


@dataclass(frozen=True)
class OwnSession:
    """A session as its owner sees it.

    `number` names it on the page, in place of its key, with which anybody could be its owner.
    """

    key: str
    number: str
    begun_at: datetime
    last_seen_at: datetime
    address: str
    browser: str

    @classmethod
    def of(cls, session: SessionStore) -> OwnSession:
        key = session.session_key
        assert key is not None, "it is stored"
        return cls(
            key=key,
            number=keyed_hash(settings.HMAC_KEY, "session", key).hex()[:16],
            begun_at=_moment(session[sessions.LOGGED_IN_AT]),
            last_seen_at=_moment(session[sessions.LAST_SEEN_AT]),
            address=session.get(sessions.ADDRESS, "unknown"),
            browser=browser_in_words(session.get(sessions.USER_AGENT, "")),
        )


def browser_in_words(user_agent: str) -> str:
    """Such as *Firefox on Windows*, from what a browser says of itself."""
    browser = _first_in(_BROWSERS, user_agent) or "An unknown browser"
    system = _first_in(_SYSTEMS, user_agent)
    return f"{browser} on {system}" if system else browser


def _first_in(names: dict[str, str], user_agent: str) -> str | None:
    return next((name for name, mark in names.items() if re.search(mark, user_agent)), None)


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, timezone.get_current_timezone())


class EndSessionsForm(WithCurrentPassword):
    """Asks which other sessions to end, and for the password."""

    purpose = "Ending sessions"

    def __init__(self, request: HttpRequest, user: User, others: list[OwnSession]) -> None:
        super().__init__(request.POST if request.method == "POST" else None)
        self.request = request
        self.user = user
        self.fields["numbers"] = forms.MultipleChoiceField(
            required=False,
            choices=[(each.number, each.number) for each in others],
            widget=forms.MultipleHiddenInput,  # The page has check boxes for it.
        )
        self.ask_for_password_first()

    def clean(self) -> dict[str, Any]:
        if not (self.errors or self.cleaned_data["numbers"] or "all" in self.data):
            raise ValidationError("Tick what you want to end.")
        return self.cleaned_data

    def is_chosen(self, session: OwnSession) -> bool:
        """Whether this session is to end."""
        return "all" in self.data or session.number in self.cleaned_data["numbers"]


@page_with_secrets
@login_required
def own_sessions(request: HttpRequest) -> HttpResponse:
    """Where the user is logged in; ends sessions other than this one."""
    user = request.user
    assert isinstance(user, User), "login_required has let nobody else in"
    found = [OwnSession.of(each) for each in sessions.current_sessions(user)]
    this_key = request.session.session_key
    others = [each for each in found if each.key != this_key]
    form = EndSessionsForm(request, user, others)
    if form.is_valid():
        keys = [each.key for each in others if form.is_chosen(each)]
        logins.sessions_ended(request, user, user, sessions.end_sessions(user, keys=keys))
        return redirect("sessions")
    context = {
        "form": form,
        "this": next((each for each in found if each.key == this_key), None),
        "others": sorted(others, key=lambda each: each.last_seen_at, reverse=True),
    }
    return render(request, "staff/sessions.html", context)
