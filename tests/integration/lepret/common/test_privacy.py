"""Whom to ask, and what happens with the data: on every page."""

from __future__ import annotations

from uuid import UUID

import pytest
from django.template.loader import render_to_string
from django.test import Client
from pytest_django import Settings

from tests.support.staff import make_underwriter

pytestmark = [pytest.mark.usefixtures("streams"), pytest.mark.django_db]

CONTACT = '<a href="mailto:ask@example.com">ask@example.com</a> &amp; &lt;b&gt;'


@pytest.fixture(autouse=True)
def _contact(settings: Settings) -> None:
    settings.CONTACT = "ask@example.com & <b>"


@pytest.mark.parametrize("path", ["/", "/find/", "/privacy/", "/accounts/login/", "/nowhere"])
def test_the_foot_of_a_page_leads_on(client: Client, path: str) -> None:
    foot = client.get(path).content.decode().partition("<footer")[2]
    for link in ("/find/", "/privacy/", "/accounts/login/"):
        assert f'<a href="{link}">' in foot
    assert f"Contact: {CONTACT}" in foot


def test_staff_who_are_logged_in_need_no_login(client: Client) -> None:
    client.force_login(make_underwriter())
    html = client.get("/").content.decode()
    assert "Staff login" not in html
    assert "Log out uma" in html.partition("<footer")[0]


@pytest.mark.parametrize("template", ["400.html", "500.html"])
def test_a_page_of_an_error_says_whom_to_contact(template: str, settings: Settings) -> None:
    assert f"contact {CONTACT}" in render_to_string(template)
    settings.CONTACT = ""
    assert "contact" not in render_to_string(template)


def test_without_a_contact_none_is_named(client: Client, settings: Settings) -> None:
    settings.CONTACT = ""
    for path in ("/", "/privacy/", f"/loans/{UUID(int=1)}/"):
        assert "Contact" not in client.get(path).content.decode()


def test_the_notice_is_the_settings(client: Client, settings: Settings) -> None:
    own = client.get("/privacy/").content.decode()
    assert "A credit bureau is told your national ID" in own
    settings.PRIVACY_NOTICE = "We are <Loans & Sons>.\n\nAsk us at https://loans.example.com."
    html = client.get("/privacy/").content.decode()
    assert "<p>We are &lt;Loans &amp; Sons&gt;.</p>" in html
    assert '<p>Ask us at <a href="https://loans.example.com"' in html
    assert "A credit bureau" not in html
