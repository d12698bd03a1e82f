"""Staff set up a second factor and log in with it, or sign in by an identity provider."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.support.demo import Demo, running_demo
from tests.support.identity_providers import RealProvider, running_real_provider
from tests.support.pages import expect_live, give_code, log_in, make_user, open_queue
from tests.support.processes import free_port
from tests.support.second_factors import Phone


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def provider(port: int) -> Iterator[RealProvider]:
    callback = f"http://127.0.0.1:{port}/accounts/provider/callback/"
    with running_real_provider(callback) as provider:
        provider.set_user("4711", preferred_username="uma", groups=["risk"])
        provider.set_user("4712", preferred_username="otto", groups=["sales"])
        yield provider


@pytest.fixture(scope="module")
def demo(
    port: int, provider: RealProvider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Demo]:
    """A demo whose staff need a second factor, or sign in by the provider."""
    environment = {
        "STAFF_SECOND_FACTOR": "required",
        "OIDC_ISSUER": provider.issuer,
        "OIDC_CLIENT_ID": provider.client_id,
        "OIDC_CLIENT_SECRET": provider.client_secret,
        "OIDC_NAME": "the bank's account",
        "OIDC_UNDERWRITERS_GROUP": "risk",
    }
    data_dir = tmp_path_factory.mktemp("demo") / "data"
    with running_demo(data_dir, port=port, environment=environment) as demo:
        yield demo


def test_a_second_factor_is_set_up_and_used(page: Page, other_page: Page, demo: Demo) -> None:
    name = make_user(demo, "Underwriters")
    open_queue(page, name)
    expect(page.get_by_role("heading", name="Set up a second factor")).to_be_visible()
    expect(page.get_by_role("img", name="as a picture")).to_be_visible()
    phone = Phone(page.locator("#secret").inner_text())
    give_code(page, phone.wrong_code(), "Set up")
    expect(page.get_by_text("not the code that the app should show")).to_be_visible()
    code = phone.code()
    give_code(page, code, "Set up")
    codes = page.locator(".recovery-codes code")
    expect(codes).to_have_count(10)
    recovery_code = codes.first.inner_text()
    page.get_by_role("button", name="I have kept them").click()
    expect_live(page)

    open_queue(other_page, name)
    give_code(other_page, code, "Log in")
    expect(other_page.get_by_text("was used before")).to_be_visible()
    give_code(other_page, recovery_code, "Log in")
    expect_live(other_page)
    other_page.get_by_role("link", name="Account").click()
    other_page.get_by_role("link", name="Second factor").click()
    expect(other_page.get_by_text("You have 9 recovery codes left")).to_be_visible()

    assert demo.manage("second_factor", "reset", name).returncode == 0
    other_page.goto("/underwriting/")
    expect(other_page.get_by_text("needs its second factor now")).to_be_visible()
    log_in(other_page, name)
    expect(other_page.get_by_role("heading", name="Set up a second factor")).to_be_visible()


def at_the_provider(page: Page) -> None:
    page.goto("/underwriting/")
    page.get_by_role("button", name="Sign in with the bank's account").click()
    expect(page.get_by_role("heading", name="Authorize Client")).to_be_visible()


def sign_in_as(page: Page, subject: str) -> None:
    page.get_by_placeholder("sub").fill(subject)
    page.get_by_role("button", name="Authorize").click()


def test_the_provider_signs_in_whom_it_knows(page: Page, demo: Demo) -> None:
    at_the_provider(page)
    sign_in_as(page, "4711")
    expect_live(page)
    expect(page.get_by_role("button", name="Log out uma")).to_be_visible()
    expect(page).to_have_url(re.compile(r"/underwriting/$"))
    page.get_by_role("button", name="Log out uma").click()
    page.goto("/underwriting/")
    expect(page.get_by_role("heading", name="Staff login")).to_be_visible()
    assert "Logged in: 'uma'" in demo.output


def test_the_provider_lets_nobody_in_without_a_group(page: Page) -> None:
    at_the_provider(page)
    sign_in_as(page, "4712")
    expect(page.get_by_text("You are in none of the groups")).to_be_visible()
    page.get_by_role("link", name="To the staff login").click()
    expect(page.get_by_text("You were logged out")).to_have_count(0)


def test_who_cancels_is_told_so(page: Page) -> None:
    at_the_provider(page)
    page.get_by_role("button", name="Deny").click()
    expect(page.get_by_role("heading", name="Not signed in")).to_be_visible()
