"""Makes sessions older than they are."""

from __future__ import annotations

from django.test import Client

from lepret.staff.sessions import LAST_SEEN_AT, LOGGED_IN_AT


def age(client: Client, *, login: float = 0, last_request: float = 0) -> None:
    """Put the session's login, and its last request, this many more seconds into the past."""
    session = client.session
    session[LOGGED_IN_AT] -= login
    session[LAST_SEEN_AT] -= last_request
    session.save()
