"""The second factor of members of staff."""

from __future__ import annotations

import logging
import re
import time
from dataclasses import dataclass
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django_otp.plugins.otp_static.models import StaticToken
from pytest_django import Settings

from lepret.models import AuthenticatorApp
from lepret.staff import second_factor, sessions
from lepret.staff.sessions import Lifetimes, SessionEnd
from tests.support.second_factors import Phone, middle_of_a_step
from tests.support.staff import make_clerk, make_underwriter

pytestmark = pytest.mark.django_db

PASSWORD = "a password of uma's"
LOGIN, CODE, PAGE = "/accounts/login/", "/accounts/login/code/", "/accounts/second-factor/"
QUEUE = "/underwriting/"
FULL_WIDTH_DIGITS = "".join(chr(0xFF10 + digit) for digit in range(1, 7))


@dataclass
class Enrolled:
    """A member of staff with a second factor, and the browser in which it was set up."""

    user: User
    phone: Phone
    recovery_codes: list[str]
    client: Client


@pytest.fixture
def uma() -> User:
    user = make_underwriter()
    user.set_password(PASSWORD)
    user.save()
    return user


@pytest.fixture
def enrolled(uma: User) -> Enrolled:
    client = Client()
    client.force_login(uma)
    phone = Phone.that_scans(client.get(PAGE).content.decode())
    page = set_up(client, phone.code(), PASSWORD)
    allow_any_code(uma)
    return Enrolled(uma, phone, recovery_codes_on(page), client)


def set_up(client: Client, code: str, password: str | None = None) -> str:
    form = {"code": code} | ({} if password is None else {"password": password})
    return client.post(PAGE, form).content.decode()


def recovery_codes_on(page: str) -> list[str]:
    return re.findall(r"<li><code>([a-z2-7]{5}-[a-z2-7]{5})</code>", page)


def allow_any_code(user: User) -> None:
    """As if the last code had been used, and wrong ones given, long ago."""
    AuthenticatorApp.objects.filter(user=user).update(last_t=-1, throttling_failure_count=0)


def give_password(client: Client, next_url: str = "", path: str = LOGIN) -> str:
    """Do the first step; returns where it leads."""
    login = {"username": "uma", "password": PASSWORD, "next": next_url}
    response = client.post(path, login)
    assert response.status_code == 302, response.content.decode()
    return str(response["Location"])


def give_code(client: Client, code: str) -> str:
    """Do the second step; returns where it leads, or what the page says."""
    response = client.post(CODE, {"code": code})
    return str(response["Location"]) if response.status_code == 302 else response.content.decode()


def is_in(client: Client) -> bool:
    return client.get(QUEUE).status_code == 200


class TestSettingUp:
    def test_the_page_shows_a_secret_and_takes_its_code(self, uma: User, client: Client) -> None:
        client.force_login(uma)
        page = client.get(PAGE).content.decode()
        assert "<svg" in page
        assert "<style" not in page
        assert "style=" not in page
        done = set_up(client, Phone.that_scans(page).code(), PASSWORD)
        assert len(recovery_codes_on(done)) == second_factor.RECOVERY_CODES
        assert is_in(client)
        assert recovery_codes_on(client.get(PAGE).content.decode()) == []

    @pytest.mark.parametrize("password", ["wrong", ""])
    def test_not_without_the_password(self, uma: User, client: Client, password: str) -> None:
        client.force_login(uma)
        phone = Phone.that_scans(client.get(PAGE).content.decode())
        set_up(client, phone.code(), password)
        set_up(client, phone.code())
        assert second_factor.app_of(uma) is None

    @pytest.mark.parametrize(
        "code",
        ["", "12345", "1234567", "+12345", FULL_WIDTH_DIGITS, "abcdef", "a\x00bcde", "-00001"],
    )
    def test_not_with_a_wrong_code(self, uma: User, client: Client, code: str) -> None:
        client.force_login(uma)
        client.get(PAGE)
        set_up(client, code, PASSWORD)
        assert second_factor.app_of(uma) is None

    def test_a_second_one_takes_the_place_of_none(self, enrolled: Enrolled) -> None:
        with pytest.raises(second_factor.AlreadySetUp):
            second_factor.set_up(enrolled.user, second_factor.new_key(), "123456")
        assert "<svg" not in enrolled.client.get(PAGE).content.decode()

    def test_neither_secret_nor_recovery_codes_are_stored(self, enrolled: Enrolled) -> None:
        app = AuthenticatorApp.objects.get()
        assert app.key != app.bin_key.hex()
        stored = set(StaticToken.objects.values_list("token", flat=True))
        plain = {code.replace("-", "") for code in enrolled.recovery_codes}
        assert len(stored) == second_factor.RECOVERY_CODES
        assert not stored & plain

    def test_admin_shows_no_devices(self, enrolled: Enrolled, admin_client: Client) -> None:
        assert admin_client.get("/admin/otp_totp/totpdevice/").status_code == 404
        assert admin_client.get("/admin/otp_static/staticdevice/").status_code == 404


class TestLoggingIn:
    @pytest.mark.parametrize("make", [make_underwriter, make_clerk])
    def test_without_a_second_factor_the_password_is_enough(
        self, client: Client, make: Any
    ) -> None:
        user = make("uma")
        user.set_password(PASSWORD)
        user.save()
        assert give_password(client) == "/accounts/home/"

    def test_password_then_code(self, enrolled: Enrolled, client: Client) -> None:
        assert give_password(client, f"{QUEUE}?page=2") == CODE
        assert give_code(client, enrolled.phone.code()) == f"{QUEUE}?page=2"
        assert is_in(client)

    def test_the_same_at_admins_login(self, enrolled: Enrolled, client: Client) -> None:
        User.objects.update(is_staff=True, is_superuser=True)
        assert give_password(client, path="/admin/login/") == CODE
        assert client.get("/admin/").status_code == 302
        assert give_code(client, enrolled.phone.code()) == "/admin/"
        assert client.get("/admin/").status_code == 200

    def test_between_the_steps_nothing_is_allowed(self, enrolled: Enrolled, client: Client) -> None:
        User.objects.update(is_staff=True, is_superuser=True)
        give_password(client)
        number = "00000000-0000-4000-8000-000000000000"
        for path in (QUEUE, "/admin/", "/accounts/home/", "/accounts/password/", PAGE):
            assert client.get(path).status_code == 302, path
        for path in (f"/underwriting/{number}/approve", "/accounts/password/", PAGE):
            assert client.post(path, {"code": enrolled.phone.code()}).status_code != 200, path
        key = client.session.session_key
        whose = sessions.whose(key, now=time.time(), lifetimes=Lifetimes.from_settings())
        assert whose is SessionEnd.LOGGED_OUT
        assert not is_in(client)

    def test_a_wrong_password_does_not_tell_who_has_a_second_factor(
        self, enrolled: Enrolled, client: Client
    ) -> None:
        make_underwriter("una")
        pages = [
            client.post(LOGIN, {"username": name, "password": "wrong"}) for name in ("uma", "una")
        ]
        assert {page.status_code for page in pages} == {200}

    def test_a_code_works_once(self, enrolled: Enrolled) -> None:
        code = enrolled.phone.code()
        first, second = Client(), Client()
        give_password(first)
        give_password(second)
        give_code(first, code)
        assert is_in(first)
        assert "was used before" in give_code(second, code)
        assert not is_in(second)

    @pytest.mark.parametrize(("steps", "works"), [(-2, 0), (-1, 1), (0, 1), (1, 1), (2, 0)])
    def test_a_phones_clock_may_be_half_a_minute_off(
        self, enrolled: Enrolled, client: Client, steps: int, works: bool
    ) -> None:
        t0 = middle_of_a_step()
        AuthenticatorApp.objects.update(t0=t0)
        give_password(client)
        give_code(client, enrolled.phone.code(steps, t0=t0))
        assert is_in(client) == bool(works)

    def test_a_recovery_code_works_once(self, enrolled: Enrolled) -> None:
        code = enrolled.recovery_codes[3]
        first, second = Client(), Client()
        give_password(first)
        give_code(first, f" {code.upper()} ")
        assert is_in(first)
        give_password(second)
        give_code(second, code)
        assert not is_in(second)
        assert second_factor.recovery_codes_left(enrolled.user) == second_factor.RECOVERY_CODES - 1

    def test_nobody_elses_recovery_code_works(self, enrolled: Enrolled, client: Client) -> None:
        other = make_underwriter("una")
        codes = second_factor.renew_recovery_codes(other)
        give_password(client)
        give_code(client, codes[0])
        assert not is_in(client)

    def test_thirty_guesses_do_not_work(self, enrolled: Enrolled) -> None:
        for _ in range(6):
            client = Client()
            give_password(client)
            for _ in range(5):
                client.post(CODE, {"code": enrolled.phone.wrong_code()})
        client = Client()
        give_password(client)
        client.post(CODE, {"code": enrolled.phone.code()})
        assert not is_in(client)
        call_command("unlock", "uma")
        give_code(client, enrolled.phone.code())
        assert is_in(client)

    def test_without_the_password_nobody_can_slow_the_user_down(
        self, enrolled: Enrolled, client: Client
    ) -> None:
        for _ in range(30):
            assert client.post(CODE, {"code": "123456"}).status_code == 302
        other = Client()
        give_password(other)
        give_code(other, enrolled.phone.code())
        assert is_in(other)

    def test_a_wait_is_told(self, enrolled: Enrolled, client: Client) -> None:
        give_password(client)
        AuthenticatorApp.objects.update(
            throttling_failure_count=8, throttling_failure_timestamp=enrolled.user.date_joined
        )
        assert re.search(r"Wait 1[0-9]{2} seconds", give_code(client, enrolled.phone.code()))
        assert not is_in(client)

    def test_the_first_step_does_not_last(
        self, enrolled: Enrolled, client: Client, settings: Settings
    ) -> None:
        give_password(client)
        settings.SECOND_STEP_SECONDS = 0
        assert give_code(client, enrolled.phone.code()) == LOGIN
        settings.SECOND_STEP_SECONDS = 600
        give_code(client, enrolled.phone.code())
        assert is_in(client)

    @pytest.mark.parametrize("change", ["password", "inactive", "reset", "passwords off"])
    def test_what_happens_between_the_steps_counts(
        self, enrolled: Enrolled, client: Client, settings: Settings, change: str
    ) -> None:
        give_password(client)
        match change:
            case "password":
                enrolled.user.set_password("another password")
                enrolled.user.save()
            case "inactive":
                User.objects.update(is_active=False)
            case "reset":
                call_command("second_factor", "reset", "uma")
            case _:
                settings.AUTHENTICATION_BACKENDS = [settings.OIDC_BACKEND]
        assert give_code(client, enrolled.phone.code()) == LOGIN
        assert not is_in(client)

    def test_each_step_has_a_session_of_its_own(self, enrolled: Enrolled, client: Client) -> None:
        client.force_login(make_clerk())
        planted = client.cookies["sessionid"].value
        give_password(client)
        between = client.cookies["sessionid"].value
        give_code(client, enrolled.phone.code())
        assert len({planted, between, client.cookies["sessionid"].value}) == 3

    @pytest.mark.parametrize(
        "code", ["", "x" * 21, "\x00", FULL_WIDTH_DIGITS, "1" * 5000, "ß" * 10]
    )
    def test_hostile_codes_are_wrong_codes(
        self, enrolled: Enrolled, client: Client, code: str
    ) -> None:
        give_password(client)
        response = client.post(CODE, {"code": code})
        assert response.status_code == 200
        assert not is_in(client)


class TestOtherSessions:
    def test_a_session_from_before_has_ended(self, uma: User, client: Client) -> None:
        older = Client()
        older.force_login(uma)
        assert is_in(older)
        client.force_login(uma)
        set_up(client, Phone.that_scans(client.get(PAGE).content.decode()).code(), PASSWORD)
        assert is_in(client)
        assert not is_in(older)
        assert "needs its second factor" in older.get(LOGIN).content.decode()
        key = older.session.session_key
        whose = sessions.whose(key, now=time.time(), lifetimes=Lifetimes.from_settings())
        assert whose is SessionEnd.SECOND_FACTOR

    def test_a_page_asks_one_query_more(self, enrolled: Enrolled) -> None:
        with CaptureQueriesContext(
            connection,
        ) as queries:
            enrolled.client.get("/accounts/home/")
        assert sum("otp_totp" in query["sql"] for query in queries) == 1


class TestChanging:
    def test_new_recovery_codes_end_the_old_ones(self, enrolled: Enrolled) -> None:
        form = {"password": PASSWORD, "code": enrolled.phone.code(), "renew": ""}
        codes = recovery_codes_on(enrolled.client.post(PAGE, form).content.decode())
        assert len(set(codes) | set(enrolled.recovery_codes)) == 2 * second_factor.RECOVERY_CODES
        assert second_factor.check(enrolled.user, enrolled.recovery_codes[0]).name == "WRONG"

    def test_it_can_be_removed(self, enrolled: Enrolled, client: Client) -> None:
        form = {"password": PASSWORD, "code": enrolled.phone.code(), "remove": ""}
        assert enrolled.client.post(PAGE, form)["Location"] == PAGE
        assert give_password(client) == "/accounts/home/"

    @pytest.mark.parametrize("wrong", ["password", "code"])
    def test_not_without_password_and_code(self, enrolled: Enrolled, wrong: str) -> None:
        form = {"password": PASSWORD, "code": enrolled.phone.code(), "remove": ""}
        form[wrong] = "wrong" if wrong == "password" else enrolled.phone.wrong_code()
        assert enrolled.client.post(PAGE, form).status_code == 200
        assert second_factor.app_of(enrolled.user) is not None

    def test_a_password_cannot_be_guessed_there(self, enrolled: Enrolled) -> None:
        form = {"password": "wrong", "code": "123456", "remove": ""}
        answers = [enrolled.client.post(PAGE, form).status_code for _ in range(12)]
        assert answers[-1] == 429
        form["password"] = PASSWORD
        form["code"] = enrolled.phone.code()
        assert enrolled.client.post(PAGE, form).status_code == 429

    def test_an_operator_removes_a_lost_one(self, enrolled: Enrolled, client: Client) -> None:
        call_command("second_factor", "list")
        call_command("second_factor", "reset", "uma")
        assert give_password(client) == "/accounts/home/"
        assert second_factor.recovery_codes_left(enrolled.user) == 0
        for name in ("uma", "nobody"):
            with pytest.raises(CommandError):
                call_command("second_factor", "reset", name)


class TestRequired:
    @pytest.fixture(autouse=True)
    def _required(self, settings: Settings) -> None:
        settings.STAFF_SECOND_FACTOR = "required"

    def test_whoever_has_none_can_only_set_it_up(self, uma: User, client: Client) -> None:
        User.objects.update(is_staff=True, is_superuser=True)
        assert give_password(client, QUEUE) == PAGE
        for path in (QUEUE, "/admin/", "/accounts/password/", "/accounts/home/", CODE):
            assert client.get(path).status_code == 302, path
        page = client.get(PAGE).content.decode()
        assert "Current password" not in page
        done = set_up(client, Phone.that_scans(page).code())
        assert f'href="{QUEUE}"' in done
        assert is_in(client)

    def test_it_holds_for_those_who_are_logged_in_already(
        self, uma: User, client: Client, settings: Settings
    ) -> None:
        settings.STAFF_SECOND_FACTOR = "optional"
        give_password(client)
        assert is_in(client)
        settings.STAFF_SECOND_FACTOR = "required"
        assert not is_in(client)
        assert client.get(PAGE)["Location"].startswith(LOGIN)
        key = client.session.session_key
        whose = sessions.whose(key, now=time.time(), lifetimes=Lifetimes.from_settings())
        assert whose is SessionEnd.SECOND_FACTOR

    def test_who_removes_it_must_set_up_another(self, uma: User, client: Client) -> None:
        give_password(client)
        phone = Phone.that_scans(client.get(PAGE).content.decode())
        set_up(client, phone.code())
        allow_any_code(uma)
        form = {"password": PASSWORD, "code": phone.code(), "remove": ""}
        assert client.post(PAGE, form)["Location"] == PAGE
        assert not is_in(client)
        page = client.get(PAGE).content.decode()
        set_up(client, Phone.that_scans(page).code())
        assert is_in(client)

    def test_a_planted_session_cannot_set_it_up(self, uma: User, client: Client) -> None:
        client.get("/accounts/second-factor/")
        client.force_login(make_clerk())
        planted = client.cookies["sessionid"].value
        give_password(client)
        attacker = Client()
        attacker.cookies["sessionid"] = planted
        assert attacker.get(PAGE).status_code == 302


def test_everything_is_logged_and_no_secret(
    uma: User, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    give_password(client)
    page = client.get(PAGE).content.decode()
    phone = Phone.that_scans(page)
    used = [phone.code()]
    recovery_codes = recovery_codes_on(set_up(client, used[0], PASSWORD))
    allow_any_code(uma)
    other = Client()
    give_password(other)
    used += [phone.wrong_code(), recovery_codes[0], phone.code(1)]
    for code in used[1:3]:
        give_code(other, code)
        allow_any_code(uma)
    client.post(PAGE, {"password": PASSWORD, "code": used[3], "remove": ""})
    words = [record.getMessage() for record in caplog.records if "uma" in record.getMessage()]
    assert [word.partition(":")[0] for word in words] == [
        "Logged in",
        "Second factor set up",
        "Second factor failed",
        "Logged in",
        "Second factor removed",
    ]
    for secret in (*used, *recovery_codes, PASSWORD):
        assert secret not in caplog.text
