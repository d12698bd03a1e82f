"""How often one may apply: by form and API together, from an address and for a national ID."""

from __future__ import annotations

import logging
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
import redis
from django.core.cache import cache
from django.test import Client
from pytest_django import Settings

from lepret.environment import Rate
from lepret.models import Scope
from lepret.settings import CACHES
from tests.support.api import Caller, application, caller_for, somebody
from tests.support.staff import make_underwriter
from tests.support.valkey import RunningValkey

pytestmark = [pytest.mark.usefixtures("streams"), pytest.mark.django_db]

DAY = 86_400
HTMX = {"HX-Request": "true"}
# Those of the script that counts are among them.
COMMANDS = (
    *("evalsha", "get", "mget", "exists", "incr", "incrby", "decrby"),
    *("set", "setex", "expire", "del"),
)


@pytest.fixture(autouse=True)
def _limits(settings: Settings) -> None:
    cache.clear()
    settings.APPLICATIONS_PER_ADDRESS = Rate(3, DAY)
    settings.APPLICATIONS_PER_NATIONAL_ID = None


@pytest.fixture
def _counts_in_valkey(shared_valkey: RunningValkey, settings: Settings) -> None:
    own = {"LOCATION": shared_valkey.url, "KEY_PREFIX": str(uuid4())}
    settings.CACHES = {"default": {**CACHES["default"], **own}}


def per_person(settings: Settings, calls: int) -> None:
    settings.APPLICATIONS_PER_ADDRESS = None
    settings.APPLICATIONS_PER_NATIONAL_ID = Rate(calls, DAY)


def by_api(body: dict[str, Any] | None = None, *, address: str = "192.0.2.1") -> Any:
    return Client(REMOTE_ADDR=address).post(
        "/api/loan-requests", body or application(), content_type="application/json"
    )


def by_form(
    body: dict[str, Any] | None = None, *, address: str = "192.0.2.1", **headers: str
) -> Any:
    form = {"address": "", **(body or application())}
    return Client(REMOTE_ADDR=address).post("/", form, headers=headers)


class TestAnAddress:
    def test_at_its_limit_is_told_by_the_api_when_to_try_again(self) -> None:
        assert [by_api().status_code for _ in range(3)] == [201] * 3
        response = by_api()
        assert response.status_code == 429
        assert response["Content-Type"] == "application/problem+json"
        assert 0 < int(response["Retry-After"]) <= DAY
        assert "too many applications" in response.json()["detail"]

    @pytest.mark.parametrize("headers", [HTMX, {}], ids=["htmx", "without"])
    def test_at_its_limit_gets_its_form_back_with_what_was_typed(
        self, headers: dict[str, str]
    ) -> None:
        for _ in range(3):
            by_form()
        form = application(name="Zoe Quillfeather")
        response = by_form(form, **headers)
        html = response.content.decode()
        assert response.status_code == 429
        assert 0 < int(response["Retry-After"]) <= DAY
        assert "too many applications" in html
        assert "please send it again in" in html
        assert 'value="Zoe Quillfeather"' in html
        assert f'value="{form["id"]}"' in html
        assert html.lstrip().startswith("<form" if headers else "<!doctype html>")

    def test_is_counted_in_form_and_api_together(self) -> None:
        assert [by_form().status_code, by_api().status_code] == [302, 201]
        assert [by_form().status_code, by_api().status_code] == [302, 429]

    def test_is_counted_by_itself_an_ipv6_address_by_its_network(self) -> None:
        addresses = ["2001:db8::1", "2001:db8::2", "2001:db8::3:4", "2001:db8::5", "2001:db8:1::1"]
        statuses = [by_api(address=each).status_code for each in addresses]
        assert statuses == [201, 201, 201, 429, 201]

    def test_that_tries_national_ids_is_stopped_though_it_is_refused_each_time(self) -> None:
        open_one = application()
        by_api(open_one, address="192.0.2.9")
        tries = [{**open_one, "id": str(uuid4())} for _ in range(5)]
        assert [by_api(each).status_code for each in tries] == [409, 409, 409, 429, 429]

    def test_that_sends_the_same_again_is_stopped_though_it_is_refused_each_time(self) -> None:
        open_one = application()
        by_api(open_one, address="192.0.2.9")
        other = {**open_one, "id": str(uuid4())}
        assert [by_api(other).status_code for _ in range(5)] == [409, 409, 409, 429, 429]

    def test_is_not_counted_for_what_is_not_valid(self) -> None:
        for _ in range(5):
            assert by_api(application(amount=0)).status_code == 422
            assert by_form(application(amount=0)).status_code == 422
        assert by_api().status_code == 201

    def test_is_not_counted_for_an_application_that_is_sent_again(self) -> None:
        body = application()
        form = {name: str(value) for name, value in application().items()}
        assert {by_api(body).status_code for _ in range(5)} == {201}
        assert {by_form(form).status_code for _ in range(5)} == {302}
        assert [by_api().status_code for _ in range(2)] == [201, 429]
        assert by_api(body).status_code == 201

    def test_is_counted_for_another_application_with_an_id_that_was_used(self) -> None:
        body = application()
        by_api(body)
        tries = [{**body, "amount": amount} for amount in (1, 2, 3)]
        assert [by_api(each).status_code for each in tries] == [409, 409, 429]

    @pytest.mark.usefixtures("no_event_store")
    def test_is_not_counted_for_what_could_not_be_recorded(self) -> None:
        assert {by_api().status_code for _ in range(5)} == {503}
        assert {by_form().status_code for _ in range(5)} == {503}

    def test_is_not_counted_for_a_caller_with_a_token(self) -> None:
        broker = caller_for(make_underwriter(), Scope.CREATE)
        assert {broker.apply(application()).status_code for _ in range(5)} == {201}

    def test_is_logged_once_when_it_comes_to_its_limit(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.WARNING, logger="loans.web.applying"):
            for _ in range(6):
                by_api()
        (record,) = (each for each in caplog.records if each.name == "loans.web.applying")
        assert record.getMessage() == "More than 3 applications in 86400 s from 192.0.2.1"


class TestANationalId:
    def test_at_its_limit_is_refused_from_everywhere_and_to_everyone(
        self, settings: Settings
    ) -> None:
        per_person(settings, 3)
        person = somebody()
        broker = caller_for(make_underwriter(), Scope.CREATE)
        by_api(application(national_id=person))
        by_form(application(national_id=f" {person.upper()}-"), address="192.0.2.2")
        broker.apply(application(national_id=person))

        assert broker.apply(application(national_id=person)).status_code == 429
        assert by_api(application(national_id=person), address="192.0.2.3").status_code == 429
        assert by_form(application(national_id=person), address="192.0.2.4").status_code == 429
        assert by_api().status_code == 201

    def test_is_not_used_up_by_an_address_that_is_at_its_own_limit(
        self, settings: Settings
    ) -> None:
        settings.APPLICATIONS_PER_ADDRESS = Rate(1, DAY)
        settings.APPLICATIONS_PER_NATIONAL_ID = Rate(2, DAY)
        by_api()
        person = somebody()
        for _ in range(5):
            assert by_api(application(national_id=person)).status_code == 429
        answer = by_api(application(national_id=person), address="192.0.2.2")
        assert answer.status_code == 201

    @pytest.mark.usefixtures("_counts_in_valkey")
    def test_is_neither_in_the_caches_keys_nor_in_the_log(
        self, settings: Settings, shared_valkey: RunningValkey, caplog: pytest.LogCaptureFixture
    ) -> None:
        per_person(settings, 1)
        person = somebody()
        with caplog.at_level(logging.DEBUG):
            for _ in range(3):
                by_api(application(national_id=person))
        prefix = settings.CACHES["default"]["KEY_PREFIX"]
        with redis.Redis.from_url(shared_valkey.url) as valkey:
            keys = [each.decode() for each in valkey.scan_iter(f"{prefix}*")]
        assert len(keys) >= 2
        assert not any(person in each for each in keys)
        assert not any(person in each.getMessage() for each in caplog.records)


def commands_of(valkey: redis.Redis) -> Counter[str]:
    """How often each command that reads or writes values was given until now."""
    known = {
        name.removeprefix("cmdstat_"): each for name, each in valkey.info("commandstats").items()
    }
    return Counter({name: each["calls"] for name, each in known.items() if name in COMMANDS})


@pytest.mark.usefixtures("_counts_in_valkey")
def test_an_application_asks_the_cache_few_times(
    settings: Settings, shared_valkey: RunningValkey
) -> None:
    settings.APPLICATIONS_PER_NATIONAL_ID = Rate(3, DAY)
    address, person = "192.0.2.77", somebody()
    first = application(national_id=person)
    with redis.Redis.from_url(shared_valkey.url) as valkey:

        def commands_for(body: dict[str, Any], status: int = 201) -> dict[str, int]:
            before = commands_of(valkey)
            assert by_api(body, address=address).status_code == status
            return dict(commands_of(valkey) - before)

        commands_for(application())  # The script is loaded.
        counted = {"evalsha": 1, "set": 1, "incr": 2}
        assert commands_for(first) == {**counted, "expire": 1}
        assert commands_for(first) == {"evalsha": 1, "set": 1}
        assert commands_for(application()) == {**counted, "expire": 1}
        # Not for the national ID.
        refused = {"evalsha": 1, "set": 1, "incr": 1, "del": 1}
        assert commands_for(application(), 429) == refused
        assert commands_for(first) == {"evalsha": 1, "set": 1}
        # Whoever applies with somebody's open request is counted; the mark is taken away.
        other = application(national_id=person)
        settings.APPLICATIONS_PER_ADDRESS = Rate(9, DAY)
        assert commands_for(other, 409) == {**counted, "del": 1}


@pytest.mark.usefixtures("_counts_in_valkey")
def test_what_is_counted_is_forgotten_some_time_after_its_window(
    settings: Settings, shared_valkey: RunningValkey
) -> None:
    for _ in range(5):
        by_api()
    prefix = settings.CACHES["default"]["KEY_PREFIX"]
    with redis.Redis.from_url(shared_valkey.url) as valkey:
        lifetimes = [valkey.ttl(each) for each in valkey.scan_iter(f"{prefix}*applications-from*")]
    assert len(lifetimes) in (1, 2)  # Midnight may have passed meanwhile.
    assert all(DAY < each <= 2 * DAY for each in lifetimes)


@pytest.mark.usefixtures("_counts_in_valkey")
def test_many_at_once_do_not_pass_a_limit() -> None:
    bodies = [application() for _ in range(30)]
    with ThreadPoolExecutor(30) as threads:
        statuses = list(threads.map(lambda each: Caller().apply(each).status_code, bodies))
    assert sorted(statuses) == [201] * 3 + [429] * 27
