"""Logging in: how often one may try, where it leads, and what the log says."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db.models import F
from django.test import Client
from pytest_django import Settings

from lepret.models import LoginFailures
from tests.support.staff import make_underwriter

pytestmark = pytest.mark.django_db

PASSWORD = "correct horse battery"
PAGES = ["/accounts/login/", "/admin/login/"]
WRONG = "wrong"
HOME, AWAY = "203.0.113.7", "198.51.100.9"


@pytest.fixture
def uma() -> User:
    """An underwriter who may also look into admin, so that both pages let her in."""
    user = make_underwriter("uma")
    user.is_staff = True
    user.set_password(PASSWORD)
    user.save()
    return user


def try_(
    username: str = "uma",
    password: str = WRONG,
    *,
    page: str = "/accounts/login/",
    address: str = AWAY,
    browser: Client | None = None,
    **form: str,
) -> Any:
    """Try to log in, from a new browser unless one is given."""
    login = {"username": username, "password": password, **form}
    return (browser or Client()).post(page, login, REMOTE_ADDR=address)


def is_in(response: Any) -> bool:
    return bool(response.status_code == 302)


@pytest.fixture
def later() -> Callable[..., None]:
    """Lets time pass, for what is counted."""

    def pass_(**time: float) -> None:
        LoginFailures.objects.update(until=F("until") - timedelta(**time))

    return pass_


def fail(times: int, **options: Any) -> None:
    for _ in range(times):
        assert not is_in(try_(**options))


class TestLimits:
    @pytest.mark.parametrize("page", PAGES)
    @pytest.mark.parametrize("other_page", PAGES)
    def test_thirty_wrong_passwords_lock_the_right_one_out(
        self, uma: User, page: str, other_page: str
    ) -> None:
        fail(30, page=page)
        response = try_(password=PASSWORD, page=other_page)
        assert response.status_code == 429
        assert 0 < int(response["Retry-After"]) <= 900
        assert "Too many attempts" in response.content.decode()
        assert "no-store" in response["Cache-Control"]

    def test_ten_are_tried_and_no_eleventh(self, uma: User) -> None:
        assert [try_().status_code for _ in range(11)] == [200] * 10 + [429]

    def test_a_success_forgives_the_failures_before_it(self, uma: User) -> None:
        for _ in range(3):
            fail(9)
            assert is_in(try_(password=PASSWORD))

    def test_a_lockout_ends(self, uma: User, later: Any) -> None:
        fail(11)
        later(minutes=16)
        assert is_in(try_(password=PASSWORD))

    def test_another_address_of_the_user_is_not_locked_out(self, uma: User) -> None:
        fail(30, address=AWAY)
        assert is_in(try_(password=PASSWORD, address=HOME))

    def test_an_address_is_locked_out_for_all_accounts(self, uma: User) -> None:
        for number in range(50):
            fail(1, username=f"user{number}")
        assert try_(password=PASSWORD).status_code == 429
        assert is_in(try_(password=PASSWORD, address=HOME))

    def test_the_addresses_of_one_ipv6_network_are_one(self, uma: User) -> None:
        for number in range(10):
            fail(1, address=f"2001:db8::{number:x}")
        assert try_(password=PASSWORD, address="2001:db8::ffff").status_code == 429
        assert is_in(try_(password=PASSWORD, address="2001:db8:0:1::1"))

    def test_behind_a_proxy_it_is_the_callers_address_that_counts(
        self, uma: User, settings: Settings
    ) -> None:
        settings.WEB_PROXIES = 1
        browser = Client(headers={"X-Forwarded-For": f"1.2.3.4, {AWAY}"})
        fail(30, browser=browser, address="10.0.0.1")
        elsewhere = Client(headers={"X-Forwarded-For": f"1.2.3.4, {HOME}"})
        assert is_in(try_(password=PASSWORD, browser=elsewhere, address="10.0.0.1"))

    def test_strangers_cannot_lock_out_a_browser_that_the_user_knows(self, uma: User) -> None:
        browser = Client()
        assert is_in(try_(password=PASSWORD, browser=browser, address=HOME))
        browser.post("/accounts/logout/")
        for number in range(12):
            fail(10, address=f"198.51.100.{number}")
        for number in range(50):
            fail(1, username=f"user{number}", address=HOME)
        assert try_(password=PASSWORD, address="192.0.2.1").status_code == 429
        assert try_(password=PASSWORD, address=HOME).status_code == 429
        assert is_in(try_(password=PASSWORD, browser=browser, address=HOME))

    def test_a_known_browser_has_its_own_limit(self, uma: User) -> None:
        browser = Client()
        assert is_in(try_(password=PASSWORD, browser=browser))
        fail(10, browser=browser)
        assert try_(password=PASSWORD, browser=browser).status_code == 429

    @pytest.mark.parametrize("change", ["forged", "of somebody else"])
    def test_no_other_cookie_makes_a_browser_known(self, uma: User, change: str) -> None:
        make_underwriter("vic")
        browser = Client()
        try_(password=PASSWORD, browser=browser)
        fail(10, username="vic" if change == "of somebody else" else "uma")
        if change == "forged":
            browser.cookies["device"] = browser.cookies["device"].value[:-1] + "~"
            assert try_(password=PASSWORD, browser=browser).status_code == 429
        else:
            assert try_(username="vic", browser=browser).status_code == 429

    def test_nobody_can_tell_whether_an_account_exists(self, uma: User) -> None:
        inactive = make_underwriter("ina")
        inactive.set_password(PASSWORD)
        inactive.is_active = False
        inactive.save()
        for username, password in (("uma", "wrong"), ("nobody", "wrong"), ("ina", PASSWORD)):
            pages = [try_(username=username, password=password) for _ in range(11)]
            assert [page.status_code for page in pages] == [200] * 10 + [429]
            assert "Please enter a correct username and password" in pages[0].content.decode()

    def test_no_name_and_no_address_is_stored(self, uma: User) -> None:
        fail(3)
        fail(1, username="a password typed as a name")
        stored = str(list(LoginFailures.objects.values()))
        assert not any(word in stored for word in ("uma", "a password", AWAY))

    def test_what_was_counted_is_deleted_when_it_is_over(self, uma: User, later: Any) -> None:
        fail(1, address="192.0.2.1")
        later(minutes=16)
        fail(1, username="another")
        assert LoginFailures.objects.count() == 3


class TestUnlocking:
    def unlock(self, *arguments: str) -> str:
        output = StringIO()
        call_command("unlock", *arguments, stdout=output)
        return output.getvalue().strip()

    def test_an_account_can_be_unlocked(self, uma: User) -> None:
        fail(11)
        assert self.unlock("uma") == "Unlocked."
        assert is_in(try_(password=PASSWORD))

    def test_an_address_can_be_unlocked(self, uma: User) -> None:
        for number in range(50):
            fail(1, username=f"user{number}")
        assert self.unlock("--address", AWAY) == "Unlocked."
        assert is_in(try_(password=PASSWORD))

    def test_who_was_not_locked_stays_so(self, uma: User) -> None:
        assert self.unlock("uma") == "Nothing was counted: it was not locked."

    @pytest.mark.parametrize("arguments", [[], ["nobody"]])
    def test_it_must_be_told_whom(self, arguments: list[str]) -> None:
        with pytest.raises(CommandError, match=r"Name an account|no user 'nobody'"):
            self.unlock(*arguments)


class TestStrangeInput:
    @pytest.mark.parametrize(
        ("username", "error"),
        [
            ("u\0ma", "Null characters are not allowed."),
            ("u" * 50_000, "at most 150 characters"),
            ("", "This field is required."),
            ("u\nma", "Please enter a correct username"),
            ("\N{PILE OF POO}", "Please enter a correct username"),
        ],
    )
    def test_a_strange_user_name_gets_an_error(self, username: str, error: str) -> None:
        response = try_(username=username)
        assert response.status_code == 200
        assert error in response.content.decode()

    def test_a_password_of_more_than_4096_characters_is_not_hashed(self, uma: User) -> None:
        response = try_(password="x" * 4097)
        assert "at most 4096 characters" in response.content.decode()
        assert not LoginFailures.objects.exists()

    @pytest.mark.parametrize("body", [b"username=%FF%FE&password=x", b"username=%ED%A0%80"])
    def test_what_is_not_utf_8_is_no_name_of_anybody(self, client: Client, body: bytes) -> None:
        form = "application/x-www-form-urlencoded"
        assert client.post("/accounts/login/", body, content_type=form).status_code == 200

    @pytest.mark.parametrize("charset", ["unicode_escape", "hex", "idna", "utf-16", "none such"])
    def test_a_form_in_another_charset_is_refused(self, client: Client, charset: str) -> None:
        body = b'--X\r\nContent-Disposition: form-data; name="username"\r\n\r\n\\ud800\r\n--X--\r\n'
        form = f'multipart/form-data; boundary=X; charset="{charset}"'
        assert client.post("/accounts/login/", body, content_type=form).status_code == 400

    def test_also_if_it_is_urlencoded(self) -> None:
        client = Client(enforce_csrf_checks=True)
        client.get("/accounts/login/")
        form = "application/x-www-form-urlencoded; charset=utf-7"
        assert client.post("/accounts/login/", b"a=b", content_type=form).status_code == 400

    @pytest.mark.parametrize(
        "target",
        [
            "//evil",
            "\\\\evil",
            "/\\evil",
            "http:evil",
            "///evil",
            "https://evil",
            "javascript:alert(1)",
            "http://testserver@evil/",
            "\0//evil",
            "\t//evil",
        ],
    )
    @pytest.mark.parametrize("page", PAGES)
    def test_login_leads_to_no_other_site(self, uma: User, target: str, page: str) -> None:
        home = {"/accounts/login/": "/accounts/home/", "/admin/login/": "/admin/"}[page]
        browser = Client()
        response = try_(password=PASSWORD, page=page, browser=browser, next=target)
        assert response["Location"] == home
        assert browser.get(page, {"next": target})["Location"] == home


class TestAdmin:
    def test_lets_in_who_may_see_it(self, uma: User) -> None:
        assert try_(password=PASSWORD, page="/admin/login/")["Location"] == "/admin/"

    def test_does_not_log_in_who_may_not_see_it(self) -> None:
        vic = make_underwriter("vic")
        vic.set_password(PASSWORD)
        vic.save()
        browser = Client()
        response = try_("vic", PASSWORD, page="/admin/login/", browser=browser)
        assert "This account may not see the back office." in response.content.decode()
        assert "sessionid" not in browser.cookies

    def test_tells_who_is_logged_in_that_they_may_not_see_it(self, client: Client) -> None:
        client.force_login(make_underwriter("vic"))
        response = client.get("/accounts/login/?next=/admin/", follow=True)
        assert [address for address, _ in response.redirect_chain] == [
            "/admin/",
            "/admin/login/?next=/admin/",
        ]
        assert "vic may not see the back office." in response.content.decode()

    def test_does_not_show_what_is_counted(self) -> None:
        assert not admin.site.is_registered(LoginFailures)


class TestLog:
    @pytest.fixture(autouse=True)
    def log(self, caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
        caplog.set_level(logging.DEBUG)
        return caplog

    def lines(self, log: pytest.LogCaptureFixture) -> list[str]:
        return [
            f"{record.levelname} {record.getMessage()}"
            for record in log.records
            if record.name == "lepret.staff.logins"
        ]

    def test_names_user_and_address_of_logins_and_logouts(
        self, uma: User, log: pytest.LogCaptureFixture
    ) -> None:
        browser = Client()
        try_(password=PASSWORD, browser=browser)
        browser.post("/accounts/logout/", REMOTE_ADDR=AWAY)
        assert self.lines(log) == [
            f"INFO Logged in: 'uma', from {AWAY}",
            f"INFO Logged out: 'uma', from {AWAY}",
        ]

    def test_names_them_of_failures_and_lockouts(
        self, uma: User, log: pytest.LogCaptureFixture
    ) -> None:
        fail(12)
        failure = f"WARNING Login failed: 'uma', from {AWAY}"
        assert self.lines(log) == [failure] * 10 + [f"WARNING Locked out: 'uma', from {AWAY}"]

    def test_holds_nothing_that_may_be_a_password(
        self, uma: User, log: pytest.LogCaptureFixture
    ) -> None:
        try_(username="my secret", password="my secret")
        try_(username="uma", password="my secret")
        assert self.lines(log)[0] == f"WARNING Login failed: an unknown user, from {AWAY}"
        assert "my secret" not in log.text

    def test_has_no_line_that_a_user_name_made(self, log: pytest.LogCaptureFixture) -> None:
        User.objects.create_user("a\nINFO Logged in: 'root'\u2028\u202e")
        try_(username="a\nINFO Logged in: 'root'\u2028\u202e")
        [line] = self.lines(log)
        assert line.isprintable()
