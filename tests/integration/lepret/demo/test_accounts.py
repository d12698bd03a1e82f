"""The demo's accounts: their passwords, and where these are valid."""

from __future__ import annotations

import pytest
from django.contrib.auth import authenticate
from django.contrib.auth.models import User
from pytest_django import Settings

from lepret.demo.database import ACCOUNTS, prepare

RANDOM = "fLw3kQz9"
DEMOS = "lepret.demo.passwords.DemoPasswordHasher"
ANY_SERVERS = "django.contrib.auth.hashers.PBKDF2PasswordHasher"

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _in_a_demo(settings: Settings) -> None:
    settings.PASSWORD_HASHERS = [DEMOS, ANY_SERVERS]


def who_can_log_in(*passwords: str) -> set[str]:
    """The accounts that somebody can log in to with one of the passwords."""
    return {
        each.name
        for each in ACCOUNTS
        for password in passwords
        if authenticate(username=each.name, password=password)
    }


def with_their_names() -> set[str]:
    return {each.name for each in ACCOUNTS if authenticate(username=each.name, password=each.name)}


EVERYBODY = {each.name for each in ACCOUNTS}


def test_a_password_is_the_accounts_name_on_this_machine_alone() -> None:
    prepare(password=RANDOM, is_shared=False)
    assert with_their_names() == EVERYBODY
    assert who_can_log_in(RANDOM) == set()


def test_a_demo_that_others_can_reach_has_a_random_password() -> None:
    prepare(password=RANDOM, is_shared=True)
    assert with_their_names() == set()
    assert who_can_log_in(RANDOM) == EVERYBODY


def test_the_passwords_change_with_who_can_reach_it() -> None:
    for is_shared in (False, True, False):
        prepare(password=RANDOM, is_shared=is_shared)
        assert with_their_names() == (set() if is_shared else EVERYBODY)
        assert who_can_log_in(RANDOM) == (EVERYBODY if is_shared else set())


def test_a_password_that_somebody_chose_stays() -> None:
    prepare(password=RANDOM, is_shared=False)
    admin = User.objects.get(username="admin")
    admin.set_password("chosen")
    admin.save()
    prepare(password=RANDOM, is_shared=True)
    assert who_can_log_in("chosen") == {"admin"}


def test_no_other_server_lets_anybody_in(settings: Settings) -> None:
    prepare(password=RANDOM, is_shared=False)
    settings.PASSWORD_HASHERS = [ANY_SERVERS]
    assert with_their_names() == set()


def test_the_accounts_of_an_earlier_version_get_such_passwords(settings: Settings) -> None:
    settings.PASSWORD_HASHERS = [ANY_SERVERS]
    prepare(password=RANDOM, is_shared=False)
    settings.PASSWORD_HASHERS = [DEMOS, ANY_SERVERS]
    prepare(password=RANDOM, is_shared=False)
    settings.PASSWORD_HASHERS = [ANY_SERVERS]
    assert with_their_names() == set()
