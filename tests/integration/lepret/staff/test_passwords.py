"""Changing passwords."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from tests.support.staff import make_clerk, make_underwriter

pytestmark = pytest.mark.django_db

OLD, NEW = "the old password", "correct horse battery"
PAGES = ["/accounts/password/", "/admin/password_change/"]


def in_browser(user: User) -> Client:
    browser = Client()
    browser.force_login(user)
    return browser


def with_password(user: User) -> User:
    user.set_password(OLD)
    user.save()
    return user


@pytest.fixture(params=[make_underwriter, make_clerk, lambda: User.objects.create_user("nora")])
def user(request: pytest.FixtureRequest) -> User:
    """An underwriter, someone of the back office, and someone without a role."""
    return with_password(request.param())


def change(browser: Client, page: str = PAGES[0], *, old: str = OLD, new: str = NEW) -> Any:
    form = {"old_password": old, "new_password1": new, "new_password2": new}
    return browser.post(page, form)


@pytest.mark.parametrize("page", PAGES)
def test_everybody_can_change_their_own(user: User, page: str) -> None:
    browser, elsewhere = in_browser(user), in_browser(user)
    key = browser.session.session_key
    assert browser.get(page).status_code == 200

    assert change(browser, page)["Location"] == "/accounts/password/changed/"

    user.refresh_from_db()
    assert user.check_password(NEW)
    assert "Your password is changed" in browser.get("/accounts/password/changed/").content.decode()
    assert browser.session.session_key != key
    ended = elsewhere.get("/accounts/home/", follow=True)
    assert "because your password was changed" in ended.content.decode()


@pytest.mark.parametrize("page", PAGES)
def test_the_current_one_is_asked_for(user: User, page: str) -> None:
    response = change(in_browser(user), page, old="wrong")
    assert response.status_code == 200
    user.refresh_from_db()
    assert user.check_password(OLD)


@pytest.mark.parametrize("page", PAGES)
def test_the_current_one_cannot_be_guessed(user: User, page: str) -> None:
    statuses = [change(in_browser(user), page, old="wrong").status_code for _ in range(11)]
    assert statuses == [200] * 10 + [429]
    refused = change(in_browser(user), page)
    assert refused.status_code == 429
    assert int(refused["Retry-After"]) > 0


@pytest.mark.parametrize(
    ("new", "error"),
    [
        ("elevenchars", "at least 12 characters"),
        ("1qaz2wsx3edc4rfv", "too common"),
        ("Underwriting2026!", "words of this site"),
        ("password12345!", "easy to guess"),
        (OLD, "your current password"),
        ("x" * 4097, "at most 4096 characters"),
    ],
)
def test_a_weak_one_is_refused(new: str, error: str) -> None:
    response = change(in_browser(with_password(make_underwriter())), new=new)
    assert error in response.content.decode()


@pytest.mark.parametrize(
    "new", ["947205618340", " pale kettle ", "Kürbis 🎃 Suppe", "river orbit " * 16]
)
def test_one_may_be_of_any_characters_and_long(new: str) -> None:
    assert change(in_browser(with_password(make_underwriter())), new=new).status_code == 302


@pytest.mark.parametrize("page", [*PAGES, "/accounts/password/changed/", "/accounts/home/"])
def test_who_is_not_logged_in_is_led_to_the_login_page(client: Client, page: str) -> None:
    assert client.get(page)["Location"] == f"/accounts/login/?next={page}"


def test_who_has_none_is_told_so() -> None:
    page = in_browser(make_underwriter()).get(PAGES[0]).content.decode()
    assert "Your account has no password here" in page
    assert "old_password" not in page


def test_an_administrator_sets_those_of_others_but_not_their_own_without_the_current_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    root, uma = User.objects.create_superuser("root", password=OLD), make_underwriter("uma")
    form = {"password1": NEW, "password2": NEW, "usable_password": "true", "set-password": "1"}
    browser = in_browser(root)
    for own in (str(root.pk), f"0{root.pk}", f"_3{root.pk}"):
        browser.post(f"/admin/auth/user/{own}/password/", form)
    browser.post(f"/admin/auth/user/{uma.pk}/password/", form)
    root.refresh_from_db()
    uma.refresh_from_db()
    assert root.check_password(OLD)
    assert uma.check_password(NEW)
    assert "Password of 'uma' changed by 'root', from 127.0.0.1" in caplog.text


def test_a_change_is_logged_and_so_is_a_failed_one(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    browser = in_browser(with_password(make_underwriter("uma")))
    change(browser, old="wrong")
    change(browser)
    assert "Password change failed: 'uma', from 127.0.0.1" in caplog.text
    assert "Password of 'uma' changed by 'uma', from 127.0.0.1" in caplog.text
    assert not any(secret in caplog.text for secret in ("wrong", OLD, NEW))
