"""Where login leads."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from tests.support.staff import make_clerk, make_underwriter

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("make", "home"), [(make_underwriter, "/underwriting/"), (make_clerk, "/admin/")]
)
def test_login_leads_to_the_page_of_ones_role(client: Client, make: Any, home: str) -> None:
    user = make()
    user.set_password("a password")
    user.save()
    login = {"username": user.username, "password": "a password"}
    response = client.post("/accounts/login/", login, follow=True)
    assert response.redirect_chain[-1][0] == home


def test_a_wrong_password_is_refused_with_a_message(client: Client) -> None:
    response = client.post("/accounts/login/", {"username": "uma", "password": "wrong"})
    assert "correct username and password" in response.content.decode()


@pytest.mark.parametrize("wanted", ["", "/accounts/home/", "/underwriting/", "/admin/"])
def test_who_has_no_role_is_told_so(client: Client, wanted: str) -> None:
    User.objects.create_user("nora", password="a password", is_staff=wanted == "/admin/")
    login = {"username": "nora", "password": "a password", "next": wanted}
    page = client.post("/accounts/login/", login, follow=True)
    assert wanted == "/admin/" or "your account has no role" in page.content.decode()
    assert "Log out" in page.content.decode()


def test_who_has_lost_a_role_is_told_so(client: Client, underwriter: User) -> None:
    underwriter.groups.clear()
    page = client.get("/underwriting/")
    assert page.status_code == 403
    assert "your account has no role" in page.content.decode()


def test_who_has_another_role_is_led_to_its_page(client: Client) -> None:
    client.force_login(make_clerk())
    page = client.get("/underwriting/")
    assert page.status_code == 403
    assert 'href="/accounts/home/"' in page.content.decode()


@pytest.mark.parametrize("page", ["/accounts/login/", "/accounts/password/"])
def test_password_managers_know_the_fields(client: Client, page: str) -> None:
    if page == "/accounts/password/":
        User.objects.create_user("uma", password="a password")
        client.force_login(User.objects.get())
    text = client.get(page).content.decode()
    kinds = {"/accounts/login/": ["username", "current-password"]}
    for kind in kinds.get(page, ["username", "current-password", "new-password"]):
        assert f'autocomplete="{kind}"' in text
