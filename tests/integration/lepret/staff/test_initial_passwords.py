"""A password that an administrator has set is good only for choosing another."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import Settings

from lepret.staff.access import ENDED, refusal_to_session
from lepret.staff.sessions import SessionEnd
from tests.support.second_factors import Phone
from tests.support.staff import make_underwriter

pytestmark = [
    pytest.mark.django_db,
    # Django's own admin templates use undefined variables.
    pytest.mark.ignore_template_errors,
]

GIVEN, OWN = "river orbit kettle", "correct horse battery"
PASSWORD_PAGE = "/accounts/password/"


def administrator() -> Client:
    browser = Client()
    browser.force_login(User.objects.create_superuser("root"))
    return browser


@pytest.fixture
def uma() -> User:
    """An underwriter whose password an administrator has set."""
    user = make_underwriter("uma")
    form = {"password1": GIVEN, "password2": GIVEN, "usable_password": "true", "set-password": "1"}
    answer = administrator().post(f"/admin/auth/user/{user.pk}/password/", form)
    assert answer.status_code == 302
    return user


def log_in(browser: Client, password: str, name: str = "uma") -> Any:
    login = {"username": name, "password": password, "next": "/underwriting/"}
    return browser.post("/accounts/login/", login, follow=True)


def choose(browser: Client, new: str, old: str = GIVEN) -> Any:
    form = {"old_password": old, "new_password1": new, "new_password2": new}
    return browser.post(PASSWORD_PAGE, form)


def test_it_opens_the_page_for_choosing_one_and_no_other(client: Client, uma: User) -> None:
    page = log_in(client, GIVEN)
    assert page.redirect_chain[-1][0] == PASSWORD_PAGE
    assert "Yours was set by an administrator" in page.content.decode()
    for path in (
        "/underwriting/",
        "/admin/",
        "/accounts/",
        "/accounts/home/",
        "/accounts/sessions/",
    ):
        assert client.get(path, follow=True).redirect_chain[-1][0] == PASSWORD_PAGE
    assert client.get("/accounts/second-factor/").status_code == 302
    decision = client.post("/underwriting/00000000-0000-0000-0000-000000000001/approve/")
    assert decision["Location"].startswith("/accounts/login/")


def test_it_opens_no_websocket(client: Client, uma: User) -> None:
    log_in(client, GIVEN)
    key = client.cookies["sessionid"].value
    assert refusal_to_session(key) == ENDED[SessionEnd.INITIAL_PASSWORD]
    choose(client, OWN)
    assert refusal_to_session(client.cookies["sessionid"].value) is None


def test_another_one_opens_everything(client: Client, uma: User) -> None:
    log_in(client, GIVEN)
    assert choose(client, OWN)["Location"] == "/accounts/password/changed/"
    assert client.get("/underwriting/").status_code == 200
    other = Client()
    assert log_in(other, OWN).redirect_chain == [("/underwriting/", 302)]
    assert "Change your password" in other.get(PASSWORD_PAGE).content.decode()


def test_it_cannot_be_chosen_again(client: Client, uma: User) -> None:
    log_in(client, GIVEN)
    assert "This is your current password" in choose(client, GIVEN).content.decode()
    assert client.get("/underwriting/").status_code == 302


def test_who_does_not_change_it_can_log_out(client: Client, uma: User) -> None:
    log_in(client, GIVEN)
    assert "Log out uma" in client.get(PASSWORD_PAGE).content.decode()
    client.post("/accounts/logout/")
    assert client.get(PASSWORD_PAGE)["Location"].startswith("/accounts/login/")


def test_it_is_the_same_for_a_new_user(client: Client) -> None:
    form = {
        "username": "nora",
        "usable_password": "true",
        "password1": GIVEN,
        "password2": GIVEN,
    }
    assert administrator().post("/admin/auth/user/add/", form).status_code == 302
    assert log_in(client, GIVEN, "nora").redirect_chain[-1][0] == PASSWORD_PAGE


def test_a_new_one_is_asked_for_after_the_second_factor(
    client: Client, uma: User, settings: Settings
) -> None:
    settings.STAFF_SECOND_FACTOR = "required"
    page = log_in(client, GIVEN).content.decode()
    assert "Set up a second factor" in page
    assert client.get(PASSWORD_PAGE)["Location"].startswith("/accounts/login/")
    code = Phone.that_scans(page).code()
    client.post("/accounts/second-factor/", {"code": code})
    assert client.get("/underwriting/", follow=True).redirect_chain[-1][0] == PASSWORD_PAGE
    choose(client, OWN)
    assert client.get("/underwriting/").status_code == 200


def test_the_provider_asks_for_none(uma: User, settings: Settings) -> None:
    settings.AUTHENTICATION_BACKENDS = [settings.OIDC_BACKEND]
    browser = Client()
    uma.refresh_from_db()
    browser.force_login(uma, backend=settings.OIDC_BACKEND)
    assert browser.get("/underwriting/").status_code == 200
