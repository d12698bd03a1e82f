"""How sessions begin, go on, and end."""

from __future__ import annotations

import time
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from lepret.models import StaffSession
from lepret.staff.sessions import LAST_SEEN_AT, Lifetimes, SessionEnd, whose
from tests.support.sessions import age
from tests.support.staff import make_clerk, make_underwriter

pytestmark = pytest.mark.django_db

HOUR = 3600
HTMX = {"HX-Request": "true", "HX-Current-URL": "http://testserver/underwriting/"}
PASSWORD = "correct horse battery"


def log_in(client: Client, user: User, path: str = "/accounts/login/") -> Any:
    user.set_password(PASSWORD)
    user.save()
    return client.post(path, {"username": user.username, "password": PASSWORD})


def ended_session(client: Client) -> None:
    age(client, last_request=HOUR)


class TestAnEndedSession:
    @pytest.mark.parametrize(
        ("older", "reason"),
        [
            ({"login": 12 * HOUR}, SessionEnd.EXPIRED),
            ({"last_request": HOUR}, SessionEnd.IDLE),
        ],
    )
    @pytest.mark.parametrize("page", ["/underwriting/", "/admin/"])
    def test_leads_to_the_login_page_which_says_why_and_back(
        self, client: Client, older: dict[str, float], reason: SessionEnd, page: str
    ) -> None:
        admin = User.objects.create_superuser("root")
        log_in(client, admin)
        assert client.get(page).status_code == 200
        age(client, **older)

        response = client.get(page, follow=True)

        [(address, _)] = response.redirect_chain
        assert address.endswith(f"/login/?next={page}")
        assert f"You were logged out because {reason.value}" in response.content.decode()
        form = {"username": "root", "password": PASSWORD, "next": page}
        assert client.post(address, form)["Location"] == page
        assert client.get(page).status_code == 200

    @pytest.mark.parametrize("action", ["approve", "deny"])
    def test_records_no_decision_and_says_so_on_the_page(
        self, client: Client, underwriter: User, action: str
    ) -> None:
        ended_session(client)
        response = client.post(f"/underwriting/{uuid4()}/{action}/", headers=HTMX)
        text = response.content.decode()
        assert response.status_code == 403
        assert response["HX-Retarget"] == "#main"
        assert f"You were logged out because {SessionEnd.IDLE.value}" in text
        assert "Nothing was recorded." in text
        assert 'href="/underwriting/"' in text

    def test_records_no_decision_and_says_so_on_the_login_page_without_htmx(
        self, client: Client, underwriter: User
    ) -> None:
        ended_session(client)
        referer = {"Referer": "http://testserver/underwriting/?after=7"}
        decision = f"/underwriting/{uuid4()}/approve/"
        response = client.post(decision, headers=referer, follow=True)
        assert "What you sent was not recorded." in response.content.decode()
        assert 'name="next" value="/underwriting/?after=7"' in response.content.decode()

    def test_leads_back_to_no_other_site(self, client: Client, underwriter: User) -> None:
        ended_session(client)
        elsewhere = {"Referer": "https://evil.example/underwriting/"}
        response = client.post(f"/underwriting/{uuid4()}/approve/", headers=elsewhere)
        assert response["Location"].startswith("/accounts/login/?next=/accounts/home/&")

    def test_says_nothing_to_those_who_were_not_logged_in(self, client: Client) -> None:
        page = client.get("/accounts/login/").content.decode()
        assert "logged out" not in page

    def test_says_so_when_it_is_stored_no_more(self, client: Client, underwriter: User) -> None:
        StaffSession.objects.all().delete()
        page = client.get("/underwriting/", follow=True).content.decode()
        assert f"You were logged out because {SessionEnd.LOGGED_OUT.value}" in page


class TestActivity:
    def test_is_noted_at_most_once_a_minute(
        self,
        client: Client,
        underwriter: User,
        django_assert_num_queries: DjangoAssertNumQueries,
    ) -> None:
        # Session, user, second factor, groups, queue, figures, policy: none of them writes.
        with django_assert_num_queries(7):
            client.get("/underwriting/")
        age(client, last_request=90)
        client.get("/underwriting/")
        assert time.time() - client.session[LAST_SEEN_AT] < 60

    def test_does_not_prolong_the_twelve_hours(self, client: Client, underwriter: User) -> None:
        age(client, login=12 * HOUR - 60, last_request=120)
        assert client.get("/underwriting/").status_code == 200
        age(client, login=60)
        assert client.get("/underwriting/").status_code == 302


class TestWhose:
    """What websockets ask, with no more than the session's key."""

    def whose(self, client: Client, *, later: float = 0) -> User | SessionEnd:
        key, now = client.cookies["sessionid"].value, time.time() + later
        return whose(key, now=now, lifetimes=Lifetimes(longest=12 * HOUR, idle=HOUR))

    def test_a_session_in_use_is_its_users(self, client: Client, underwriter: User) -> None:
        assert self.whose(client) == underwriter

    def test_asking_is_no_activity(self, client: Client, underwriter: User) -> None:
        age(client, last_request=120)
        before = client.session[LAST_SEEN_AT]
        self.whose(client)
        assert client.session[LAST_SEEN_AT] == before

    def test_a_later_moment_ends_it(self, client: Client, underwriter: User) -> None:
        assert self.whose(client, later=HOUR) == SessionEnd.IDLE
        assert self.whose(client, later=12 * HOUR) == SessionEnd.EXPIRED

    def test_so_do_a_logout_a_new_password_and_a_disabled_account(
        self, client: Client, underwriter: User
    ) -> None:
        underwriter.set_password("another one")
        underwriter.save()
        assert self.whose(client) == SessionEnd.PASSWORD
        underwriter.is_active = False
        underwriter.save()
        assert self.whose(client) == SessionEnd.INACTIVE
        StaffSession.objects.all().delete()
        assert self.whose(client) == SessionEnd.LOGGED_OUT

    def test_nobody_is_nobody(self) -> None:
        lifetimes = Lifetimes(longest=12 * HOUR, idle=HOUR)
        assert whose(None, now=time.time(), lifetimes=lifetimes) == SessionEnd.LOGGED_OUT
        assert whose("unknown", now=time.time(), lifetimes=lifetimes) == SessionEnd.LOGGED_OUT


class TestLogin:
    def test_makes_a_new_session_with_nothing_of_the_old_one(self, client: Client) -> None:
        user = make_underwriter()
        log_in(client, user)
        old = client.session
        old["left by an ended session"] = True
        old.save()
        ended_session(client)
        log_in(client, user)
        assert client.session.session_key != old.session_key
        assert "left by an ended session" not in client.session
        assert not StaffSession.objects.filter(pk=old.session_key).exists()

    def test_deletes_expired_sessions(self, client: Client) -> None:
        with_expired = Client()
        with_expired.force_login(make_clerk())
        session = with_expired.session
        session.set_expiry(-1)
        session.save()
        log_in(client, make_underwriter())
        assert not StaffSession.objects.filter(pk=session.session_key).exists()

    def test_of_somebody_may_be_in_several_browsers(self, client: Client) -> None:
        user = make_underwriter()
        other = Client()
        log_in(client, user)
        other.post("/accounts/login/", {"username": user.username, "password": PASSWORD})
        assert client.get("/underwriting/").status_code == 200
        assert other.get("/underwriting/").status_code == 200


class TestLogout:
    @pytest.mark.parametrize("path", ["/accounts/logout/", "/admin/logout/"])
    def test_is_by_post_and_ends_the_session(self, client: Client, path: str) -> None:
        client.force_login(make_clerk())
        key = client.session.session_key
        assert client.get(path).status_code == 405
        assert client.get("/admin/").status_code == 200
        response = client.post(path)
        assert response["Clear-Site-Data"] == '"cache"'
        assert client.get("/admin/").status_code == 302
        assert not StaffSession.objects.filter(pk=key).exists()


@pytest.mark.parametrize(
    "page",
    ["/accounts/login/", "/admin/login/", "/accounts/password/", "/accounts/home/", "/admin/"],
)
def test_pages_of_accounts_are_not_stored(client: Client, page: str) -> None:
    if "login" not in page:
        client.force_login(User.objects.create_superuser("root"))
    response = client.get(page)
    assert "no-store" in response["Cache-Control"]
