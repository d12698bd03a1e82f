"""Where login leads."""

from __future__ import annotations

from typing import Any

import pytest
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
