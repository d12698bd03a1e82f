"""How long sessions last, and why one has ended: the same rule for pages and for websockets."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, cast

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib import auth
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.auth.models import AnonymousUser, User
from django.contrib.auth.signals import user_logged_in
from django.contrib.sessions.backends.base import SessionBase
from django.dispatch import receiver
from django.http import HttpRequest
from django.utils.crypto import constant_time_compare
from django.utils.functional import SimpleLazyObject

from lepret.common.callers import address_of
from lepret.common.database_clock import database_time
from lepret.models import InitialPassword, StaffSession
from lepret.staff import second_factor
from lepret.staff.session_store import SessionStore

# Keys of a session's data. The values of the first two are seconds since 1970, by the database's
# clock, since the clocks of web servers differ.
LOGGED_IN_AT: Final = "logged_in_at"
LAST_SEEN_AT: Final = "last_seen_at"
ADDRESS: Final = "address"
USER_AGENT: Final = "user_agent"
_MUST_CHANGE_PASSWORD: Final = "must_change_password"  # noqa: S105 (not a password)

_LONGEST_USER_AGENT: Final = 300

# Not every request writes to the database: the last one is known to a minute.
_NOTED_EVERY_SECONDS: Final = 60.0


class SessionEnd(StrEnum):
    """Why a session has ended. The values complete *You were logged out because …*"""

    EXPIRED = "you had been logged in for as long as a session may last."
    IDLE = "nothing was done here for a while."
    LOGGED_OUT = "your session was ended elsewhere, or is too old."
    PASSWORD = "your password was changed."  # noqa: S105 (not a password)
    INACTIVE = "your account was switched off."
    SECOND_FACTOR = "your account needs its second factor now."
    INITIAL_PASSWORD = "your password was set by somebody else: choose your own."  # noqa: S105


@dataclass(frozen=True)
class Lifetimes:
    """How many seconds a session lasts from its login, and from the last request."""

    longest: float
    idle: float

    @classmethod
    def from_settings(cls) -> Lifetimes:
        """Those that the operator has chosen."""
        return cls(longest=settings.SESSION_COOKIE_AGE, idle=settings.SESSION_IDLE_SECONDS)


def why_over(data: Mapping[str, Any], *, now: float, lifetimes: Lifetimes) -> SessionEnd | None:
    """Why a session with this data is too old at `now`; `None` if it is not.

    A session without the times is one of an earlier version, which knew none.
    """
    if now >= data.get(LOGGED_IN_AT, 0) + lifetimes.longest:
        return SessionEnd.EXPIRED
    if now >= data.get(LAST_SEEN_AT, 0) + lifetimes.idle:
        return SessionEnd.IDLE
    return None


def whose(session_key: str | None, *, now: float, lifetimes: Lifetimes) -> User | SessionEnd:
    """The user who is logged in with the session, read anew, or why nobody is (any more)."""
    session = SessionStore(session_key)
    return _user_in(session, now=now, lifetimes=lifetimes) or SessionEnd.LOGGED_OUT


def end_of(request: HttpRequest) -> SessionEnd | None:
    """Why the session that came with a request has ended.

    `None` if none came, or if it has not ended.
    """
    if settings.SESSION_COOKIE_NAME not in request.COOKIES or request.user.is_authenticated:
        return None
    found = _user_in(
        request.session, now=database_time().timestamp(), lifetimes=Lifetimes.from_settings()
    )
    if found is None and request.session.session_key is not None:
        return None  # Nobody has logged in with it yet.
    return found if isinstance(found, SessionEnd) else SessionEnd.LOGGED_OUT


def log_in(request: HttpRequest, user: User) -> None:
    """Log in, with a new session that has nothing of the one before. Expired ones are deleted."""
    request.session.flush()
    auth.login(request, user)
    SessionStore.clear_expired()


def current_sessions(user: User) -> list[SessionStore]:
    """The sessions in which `user` is logged in now."""
    now, lifetimes = database_time().timestamp(), Lifetimes.from_settings()
    rows = StaffSession.objects.filter(user_id=user.pk, expire_date__gt=database_time())
    sessions = [SessionStore(row.session_key) for row in rows]
    return [each for each in sessions if _owner_of(each, now=now, lifetimes=lifetimes) == user]


def end_sessions(
    user: User | None = None, *, keys: Collection[str] | None = None, but: str | None = None
) -> int:
    """End the sessions of `user`, or everybody's: all, or those with these `keys`.

    The one with the key `but` goes on. Returns how many were ended, with those that were over.
    """
    rows = StaffSession.objects.exclude(session_key=but)
    if user is not None:
        rows = rows.filter(user_id=user.pk)
    if keys is not None:
        rows = rows.filter(session_key__in=keys)
    ended, _ = rows.delete()
    return ended


def owner_of(request: HttpRequest) -> User | None:
    """The user, also one who may do nothing yet but choose a password."""
    if request.user.is_authenticated:
        return request.user
    now, lifetimes = database_time().timestamp(), Lifetimes.from_settings()
    found = _owner_of(request.session, now=now, lifetimes=lifetimes)
    return found if isinstance(found, User) else None


def must_change_password(request: HttpRequest) -> bool:
    """Whether the password with which this session was begun was set by somebody else."""
    return _MUST_CHANGE_PASSWORD in request.session


def password_is_their_own(request: HttpRequest, user: User) -> None:
    """`user` has chosen a password, and may do everything again."""
    InitialPassword.objects.filter(user=user).delete()
    request.session.pop(_MUST_CHANGE_PASSWORD, None)


def password_is_set_by_another(user: User) -> None:
    """`user` has got a password from somebody else, and must choose another first."""
    InitialPassword.objects.update_or_create(user=user)


class StaffSessionMiddleware(AuthenticationMiddleware):
    """Sets `request.user`, as Django's own does, but only while the session has not ended.

    A session that has ended stays stored for a while, so that the login page can say why.
    """

    def process_request(self, request: HttpRequest) -> None:
        super().process_request(request)
        user = SimpleLazyObject(lambda: _user_of(request))
        request.user = cast(User, user)

        async def auser() -> Any:
            await sync_to_async(bool)(user)
            return user

        request.auser = auser


def _user_of(request: HttpRequest) -> User | AnonymousUser:
    if auth.SESSION_KEY not in request.session:
        return AnonymousUser()  # The database need not be there.
    now, lifetimes = database_time().timestamp(), Lifetimes.from_settings()
    user = _user_in(request.session, now=now, lifetimes=lifetimes)
    if not isinstance(user, User):
        return AnonymousUser()
    _note_activity(request, now=now, lifetimes=lifetimes)
    return user


def _user_in(session: SessionBase, *, now: float, lifetimes: Lifetimes) -> User | SessionEnd | None:
    """The session's user, or why it has ended; `None` if nobody has logged in with it."""
    owner = _owner_of(session, now=now, lifetimes=lifetimes)
    if isinstance(owner, User) and _MUST_CHANGE_PASSWORD in session:
        return SessionEnd.INITIAL_PASSWORD
    return owner


def _owner_of(
    session: SessionBase, *, now: float, lifetimes: Lifetimes
) -> User | SessionEnd | None:
    """The same, but for a user who must choose a password first."""
    if auth.SESSION_KEY not in session:
        return None
    data = {key: session[key] for key in (LOGGED_IN_AT, LAST_SEEN_AT) if key in session}
    if end := why_over(data, now=now, lifetimes=lifetimes):
        return end
    backend = session.get(auth.BACKEND_SESSION_KEY)
    if backend not in settings.AUTHENTICATION_BACKENDS:
        return SessionEnd.LOGGED_OUT
    pk = User._meta.pk.to_python(session[auth.SESSION_KEY])
    user: User | None = auth.load_backend(backend).get_user(pk)
    if user is None:
        return SessionEnd.INACTIVE
    if not constant_time_compare(
        session.get(auth.HASH_SESSION_KEY, ""), user.get_session_auth_hash()
    ):
        return SessionEnd.PASSWORD
    return SessionEnd.SECOND_FACTOR if second_factor.is_missing(user, session) else user


def _note_activity(request: HttpRequest, *, now: float, lifetimes: Lifetimes) -> None:
    last_seen_at = request.session[LAST_SEEN_AT]
    if now - last_seen_at >= min(_NOTED_EVERY_SECONDS, lifetimes.idle / 10):
        request.session.update(_seen(request, now))


def _seen(request: HttpRequest, now: float) -> dict[str, Any]:
    user_agent = request.headers.get("User-Agent", "")[:_LONGEST_USER_AGENT]
    return {LAST_SEEN_AT: now, ADDRESS: address_of(request), USER_AGENT: user_agent}


@receiver(user_logged_in)
def _begin(request: HttpRequest, user: User, **kwargs: Any) -> None:
    now = database_time().timestamp()
    request.session.update({LOGGED_IN_AT: now, **_seen(request, now)})
    is_by_password = request.session[auth.BACKEND_SESSION_KEY] != settings.OIDC_BACKEND
    if is_by_password and InitialPassword.objects.filter(user=user).exists():
        request.session[_MUST_CHANGE_PASSWORD] = True
