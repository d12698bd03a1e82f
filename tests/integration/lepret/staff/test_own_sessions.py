"""Staff and administrators see sessions, and end them."""

from __future__ import annotations

import logging
import re
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client
from pytest_django import Settings

from lepret.models import StaffSession
from lepret.staff.own_sessions import browser_in_words
from tests.support.sessions import age
from tests.support.staff import make_clerk, make_underwriter

pytestmark = pytest.mark.django_db

PAGE = "/accounts/sessions/"
PASSWORD = "correct horse battery"
FIREFOX = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0"
PHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like "
    "Gecko) Version/18.5 Mobile/15E148 Safari/604.1"
)
HOUR = 3600


def with_password(user: User) -> User:
    user.set_password(PASSWORD)
    user.save()
    return user


@pytest.fixture
def uma() -> User:
    return with_password(make_underwriter("uma"))


def logged_in(user: User, *, address: str = "203.0.113.7", user_agent: str = FIREFOX) -> Client:
    browser = Client(REMOTE_ADDR=address, headers={"User-Agent": user_agent})
    login = {"username": user.username, "password": PASSWORD}
    assert browser.post("/accounts/login/", login).status_code == 302
    return browser


def numbers(browser: Client) -> list[str]:
    page = browser.get(PAGE).content.decode()
    return re.findall(r'type="checkbox" name="numbers" value="(\w+)"', page)


def is_logged_in(browser: Client) -> bool:
    return browser.get("/accounts/home/").status_code == 302 and (
        "/login/" not in browser.get("/accounts/home/")["Location"]
    )


def end(browser: Client, password: str = PASSWORD, **fields: Any) -> Any:
    return browser.post(PAGE, {"password": password, **fields})


class TestOnesOwn:
    def test_are_shown_with_browser_address_and_times(self, uma: User) -> None:
        here = logged_in(uma)
        logged_in(uma, address="2001:db8::5", user_agent=PHONE)
        page = here.get(PAGE).content.decode()
        this, others = page.split("<h2>Others</h2>")
        assert "Firefox on Windows" in this
        assert "203.0.113.7" in this
        assert "Safari on iPhone" in others
        assert "from 2001:db8::5, last seen" in others

    def test_show_no_key_and_none_of_others(self, uma: User) -> None:
        here, elsewhere = logged_in(uma), logged_in(uma)
        logged_in(with_password(make_clerk()), address="198.51.100.9")
        page = here.get(PAGE).content.decode()
        for row in StaffSession.objects.all():
            assert row.session_key not in page
        assert len(numbers(here)) == 1
        assert "198.51.100.9" not in page
        assert is_logged_in(elsewhere)

    def test_are_only_those_that_have_not_ended(self, uma: User) -> None:
        here, idle = logged_in(uma), logged_in(uma)
        assert len(numbers(here)) == 1
        age(idle, last_request=HOUR)
        assert numbers(here) == []
        assert "You are logged in nowhere else" in here.get(PAGE).content.decode()

    def test_are_last_seen_where_they_were_last_used(self, uma: User) -> None:
        here, moved = logged_in(uma), logged_in(uma)
        age(moved, last_request=120)
        moved.get("/accounts/home/", REMOTE_ADDR="198.51.100.77")
        assert "198.51.100.77" in here.get(PAGE).content.decode()

    def test_one_can_be_ended(self, uma: User, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        here, second = logged_in(uma), logged_in(uma)
        [number] = numbers(here)
        third = logged_in(uma)
        assert end(here, numbers=[number])["Location"] == PAGE
        assert is_logged_in(here)
        assert not is_logged_in(second)
        assert is_logged_in(third)
        why = second.get("/accounts/home/", follow=True).content.decode()
        assert "your session was ended elsewhere" in why
        assert "1 sessions of 'uma' ended by 'uma', from 203.0.113.7" in caplog.text

    def test_all_others_can_be_ended(self, uma: User) -> None:
        here, *others = [logged_in(uma) for _ in range(3)]
        clerk = logged_in(with_password(make_clerk()))
        assert end(here, all="")["Location"] == PAGE
        assert is_logged_in(here)
        assert not any(map(is_logged_in, others))
        assert is_logged_in(clerk)

    @pytest.mark.parametrize("fields", [{}, {"numbers": ["0" * 16]}, {"numbers": ["x" * 1000]}])
    def test_nothing_is_ended_that_is_not_named(self, uma: User, fields: dict[str, Any]) -> None:
        here, other = logged_in(uma), logged_in(uma)
        assert end(here, **fields).status_code == 200
        assert is_logged_in(other)

    def test_nobody_elses_can_be_ended(self, uma: User) -> None:
        clem = with_password(make_clerk())
        clerk, _ = logged_in(clem), logged_in(clem)
        [number] = numbers(clerk)
        here = logged_in(uma)
        end(here, numbers=[number])
        end(here, all="")
        assert len(numbers(clerk)) == 1

    def test_are_ended_with_the_password_only(
        self, uma: User, caplog: pytest.LogCaptureFixture
    ) -> None:
        here, other = logged_in(uma), logged_in(uma)
        assert "This is not your password" in end(here, "wrong", all="").content.decode()
        assert here.post(PAGE, {"all": ""}).status_code == 200
        assert is_logged_in(other)
        assert "Ending sessions failed: 'uma', from 203.0.113.7" in caplog.text
        statuses = [end(here, "wrong", all="").status_code for _ in range(10)]
        assert statuses == [200] * 9 + [429]

    def test_need_no_password_of_those_who_have_none(self, settings: Settings) -> None:
        user = make_underwriter()
        backends = [*django_settings.AUTHENTICATION_BACKENDS, settings.OIDC_BACKEND]
        settings.AUTHENTICATION_BACKENDS = backends
        here, other = Client(), Client()
        for browser in (here, other):
            browser.force_login(user, backend=settings.OIDC_BACKEND)
        assert 'type="password"' not in here.get(PAGE).content.decode()
        assert here.post(PAGE, {"all": ""}).status_code == 302
        assert not is_logged_in(other)


class TestThoseOfOthers:
    def choose(self, browser: Client, *users: User) -> Any:
        chosen = [user.pk for user in users]
        form = {"action": "end_sessions", "_selected_action": chosen}
        return browser.post("/admin/auth/user/", form)

    def test_are_ended_by_administrators(self, uma: User, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        root = with_password(User.objects.create_superuser("root"))
        browser, roots_other = logged_in(root), logged_in(root)
        umas = [logged_in(uma), logged_in(uma)]
        clerk = logged_in(with_password(make_clerk()))
        assert self.choose(browser, uma, root).status_code == 302
        assert not any(map(is_logged_in, [*umas, roots_other]))
        assert is_logged_in(clerk)
        assert is_logged_in(browser)
        assert "2 sessions of 'uma' ended by 'root', from 203.0.113.7" in caplog.text

    def test_are_not_ended_by_clerks(self, uma: User) -> None:
        other = logged_in(uma)
        clerk = logged_in(with_password(make_clerk()))
        assert self.choose(clerk, uma).status_code == 403
        assert is_logged_in(other)

    def test_are_ended_by_operators(self, uma: User, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        ended, clerk = logged_in(uma), logged_in(with_password(make_clerk()))
        call_command("end_sessions", "uma")
        assert not is_logged_in(ended)
        assert is_logged_in(clerk)
        call_command("end_sessions", "--all")
        assert not is_logged_in(clerk)
        assert "1 sessions of 'uma' ended by an operator" in caplog.text
        assert "1 sessions of everybody ended by an operator" in caplog.text

    @pytest.mark.parametrize("arguments", [[], ["nobody"], ["uma", "--all"]])
    def test_are_not_ended_by_mistake(self, uma: User, arguments: list[str]) -> None:
        other = logged_in(uma)
        with pytest.raises(CommandError):
            call_command("end_sessions", *arguments)
        assert is_logged_in(other)


@pytest.mark.parametrize(
    ("user_agent", "words"),
    [
        (FIREFOX, "Firefox on Windows"),
        (PHONE, "Safari on iPhone"),
        (
            "Mozilla/5.0 (Windows NT 10.0) Chrome/138.0.0.0 Safari/537.36 Edg/138.0.0.0",
            "Edge on Windows",
        ),
        (
            "Mozilla/5.0 (Linux; Android 10; K) Chrome/138.0.0.0 Mobile Safari/537.36",
            "Chrome on Android",
        ),
        ("curl/8.5.0", "An unknown browser"),
        ("", "An unknown browser"),
    ],
)
def test_browsers_are_told_in_words(user_agent: str, words: str) -> None:
    assert browser_in_words(user_agent) == words
