"""Who may see the underwriters' pages: requests and open pages are told the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from django.test import Client

from lepret.models import AuthenticatorApp
from lepret.staff.access import (
    ENDED,
    NOT_UNDERWRITER,
    REFUSALS,
    SOMEBODY_ELSE,
    Refusal,
    refusal_to_session,
)
from lepret.staff.second_factor import new_key
from lepret.staff.session_store import SessionStore
from lepret.staff.sessions import LAST_SEEN_AT, LOGGED_IN_AT, SessionEnd
from tests.support.staff import make_clerk, make_underwriter

pytestmark = [pytest.mark.usefixtures("streams"), pytest.mark.django_db]

HTMX = {"HX-Request": "true"}
QUEUE = "/underwriting/"
APPROVE = f"/underwriting/{UUID(int=1)}/approve/"
DENY = f"/underwriting/{UUID(int=1)}/deny/"


def session_of(client: Client) -> str | None:
    cookie = client.cookies.get("sessionid")
    return cookie.value if cookie else None


def stored_session(client: Client) -> SessionStore:
    return SessionStore(session_of(client))


def nothing(client: Client, user: User) -> None:
    pass


def change_the_password(client: Client, user: User) -> None:
    user.set_password("another")
    user.save()


def switch_off(client: Client, user: User) -> None:
    User.objects.filter(pk=user.pk).update(is_active=False)


def delete(client: Client, user: User) -> None:
    User.objects.filter(pk=user.pk).delete()


def leave_the_groups(client: Client, user: User) -> None:
    user.groups.clear()


def log_out_elsewhere(client: Client, user: User) -> None:
    stored_session(client).delete()


def get_a_second_factor(client: Client, user: User) -> None:
    AuthenticatorApp.objects.create(user=user, name="app", key=new_key())


def change_session(**changes: Any) -> Callable[[Client, User], None]:
    def change(client: Client, user: User) -> None:
        session = stored_session(client)
        session.update(changes)
        session.save()

    return change


be_idle = change_session(**{LAST_SEEN_AT: 0})
outlive_a_login = change_session(**{LOGGED_IN_AT: 0})
use_a_backend_that_is_gone = change_session(_auth_user_backend="nothing.Backend")
have_no_password_hash = change_session(_auth_user_hash="")

LOGGED_OUT = ENDED[SessionEnd.LOGGED_OUT]
WHAT_HAPPENS: list[tuple[Callable[[Client, User], None], Refusal | None]] = [
    (nothing, None),
    (change_the_password, ENDED[SessionEnd.PASSWORD]),
    (switch_off, ENDED[SessionEnd.INACTIVE]),
    (delete, ENDED[SessionEnd.INACTIVE]),
    (leave_the_groups, NOT_UNDERWRITER),
    (log_out_elsewhere, LOGGED_OUT),
    (be_idle, ENDED[SessionEnd.IDLE]),
    (outlive_a_login, ENDED[SessionEnd.EXPIRED]),
    (use_a_backend_that_is_gone, LOGGED_OUT),
    (have_no_password_hash, ENDED[SessionEnd.PASSWORD]),
    (get_a_second_factor, ENDED[SessionEnd.SECOND_FACTOR]),
]


def make_superuser() -> User:
    return User.objects.create_superuser("sue")


def make_nobody() -> User:
    return User.objects.create_user("nat")


what_happens = pytest.mark.parametrize(("happen", "refusal"), WHAT_HAPPENS)


def said_to(client: Client, method: str, path: str) -> str:
    """The words with which a request from an open page is refused."""
    response = client.generic(method, path, headers=HTMX)
    assert response.status_code == 403
    assert response["HX-Retarget"] == "#main"
    assert "no-store" in response["Cache-Control"]
    return response.content.decode().replace("&#x27;", "'")


@what_happens
def test_a_page_and_its_websocket_are_told_the_same(
    client: Client, happen: Callable[[Client, User], None], refusal: Refusal | None
) -> None:
    user = make_underwriter()
    client.force_login(user)
    happen(client, user)
    assert refusal_to_session(session_of(client)) == refusal
    is_shown = client.get(QUEUE).status_code == 200
    assert is_shown == (refusal is None)
    # The request has changed nothing of it.
    assert refusal_to_session(session_of(client)) == refusal
    if refusal is not None:
        assert refusal.words in said_to(client, "GET", QUEUE)


@pytest.mark.parametrize(
    ("make", "may"),
    [
        (make_underwriter, True),
        (make_superuser, True),
        (make_clerk, False),
        (make_nobody, False),
    ],
)
def test_for_each_kind_of_user_they_agree(
    client: Client, make: Callable[[], User], *, may: bool
) -> None:
    client.force_login(make())
    assert (refusal_to_session(session_of(client)) is None) == may
    assert client.get(QUEUE).status_code == (200 if may else 403)


@pytest.mark.parametrize("session_key", [None, "", "x", "x" * 32, "é" * 32, "x" * 5000, "\0" * 32])
def test_a_session_that_never_was_is_none(client: Client, session_key: str | None) -> None:
    assert refusal_to_session(session_key) == LOGGED_OUT
    assert client.get(QUEUE).status_code == 302


@what_happens
@pytest.mark.parametrize("path", [APPROVE, DENY])
def test_a_decision_after_the_end_says_that_nothing_was_recorded_and_why(
    client: Client,
    path: str,
    happen: Callable[[Client, User], None],
    refusal: Refusal | None,
) -> None:
    user = make_underwriter()
    client.force_login(user)
    happen(client, user)
    if refusal is not None:
        words = said_to(client, "POST", path)
        assert refusal.words in words
        assert "Nothing was recorded." in words
        assert f'href="{QUEUE}"' in words


def test_the_deny_form_after_the_end_says_why(client: Client) -> None:
    words = said_to(client, "GET", DENY)
    assert LOGGED_OUT.words in words
    assert "recorded" not in words


def test_a_decision_by_a_page_from_before_a_login_says_so() -> None:
    strict = Client(enforce_csrf_checks=True)
    words = said_to(strict, "POST", APPROVE)
    assert LOGGED_OUT.words in words
    assert "Nothing was recorded." in words
    strict.force_login(make_underwriter())
    response = strict.post(APPROVE, headers=HTMX)
    assert response.status_code == 403
    assert "Nothing was recorded: this page is from before" in response.content.decode()


def test_without_javascript_a_decision_after_the_end_leads_to_the_login(client: Client) -> None:
    referrer = {"Referer": f"http://testserver{QUEUE}"}
    response = client.post(APPROVE, headers=referrer)
    assert response.status_code == 302
    assert response["Location"].startswith(f"/accounts/login/?next={QUEUE}")


def test_looking_at_a_session_is_no_activity(client: Client) -> None:
    client.force_login(make_underwriter())
    change_session(**{LAST_SEEN_AT: stored_session(client)[LAST_SEEN_AT] - 600})(client, User())
    before = stored_session(client)[LAST_SEEN_AT]
    assert refusal_to_session(session_of(client)) is None
    assert stored_session(client)[LAST_SEEN_AT] == before


def test_a_page_is_for_the_user_whom_it_was_shown_to(client: Client) -> None:
    user, other = make_underwriter(), make_underwriter("ben")
    client.force_login(user)
    assert refusal_to_session(session_of(client), shown_to=str(user.pk)) is None
    for shown_to in (str(other.pk), "", "x", f"{user.pk} ", f"0{user.pk}"):
        assert refusal_to_session(session_of(client), shown_to=shown_to) == SOMEBODY_ELSE


def test_the_page_has_words_for_each_close_code(client: Client) -> None:
    client.force_login(make_underwriter())
    html = client.get(QUEUE).content.decode()
    assert set(ENDED) == set(SessionEnd)
    assert len({refusal.close_code for refusal in REFUSALS}) == len(REFUSALS)
    for refusal in REFUSALS:
        template = html.split(f'<template id="ended-{refusal.close_code}">')[1]
        assert refusal.words in template.split("</template>")[0]


class TestRefusalsAreLogged:
    LINE = "Refused for want of a role: 'nat', from 203.0.113.9, "

    @pytest.fixture
    def nat(self) -> Client:
        browser = Client(REMOTE_ADDR="203.0.113.9")
        browser.force_login(make_nobody())
        return browser

    @pytest.mark.parametrize(
        ("method", "path", "headers", "route"),
        [
            ("GET", "/underwriting/?q=Ann", {}, "GET /underwriting/"),
            ("GET", QUEUE, HTMX, "GET /underwriting/"),
            ("POST", APPROVE, {}, "POST /underwriting/<uuid:loan_request_id>/approve/"),
            ("GET", "/admin/", {}, "GET /admin/"),
            ("POST", "/admin/auth/user/?q=Ann", {}, "POST /admin/auth/user/"),
        ],
    )
    def test_with_user_address_and_route(
        self,
        nat: Client,
        caplog: pytest.LogCaptureFixture,
        method: str,
        path: str,
        headers: dict[str, str],
        route: str,
    ) -> None:
        nat.generic(method, path, headers=headers)
        assert [each for each in caplog.messages if each.startswith("Refused")] == [
            self.LINE + route
        ]

    def test_of_a_clerk_in_admin(self, caplog: pytest.LogCaptureFixture) -> None:
        browser = Client()
        browser.force_login(make_clerk())
        assert browser.get("/admin/auth/user/").status_code == 403
        assert "'clem', from 127.0.0.1, GET /admin/auth/user/" in caplog.text

    def test_of_a_websocket_that_is_opened_but_not_when_it_is_checked_again(
        self, nat: Client, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert refusal_to_session(session_of(nat)) is NOT_UNDERWRITER
        assert caplog.messages == []
        refusal_to_session(session_of(nat), asked_from="203.0.113.9")
        assert caplog.messages == [self.LINE + "a websocket of underwriters"]

    def test_but_not_that_somebody_is_asked_to_log_in(
        self, client: Client, underwriter: User, caplog: pytest.LogCaptureFixture
    ) -> None:
        Client().get(QUEUE)
        Client().get("/admin/")
        client.get(QUEUE)
        assert "Refused" not in caplog.text
