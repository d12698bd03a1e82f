"""Who counts as an insider."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Final

import pytest
from django.test import Client, RequestFactory
from pytest_django import Settings

from lepret.common.insiders import is_insider

TOKEN: Final = "monitoring-" + "x" * 32
STRANGER: Final = "203.0.113.9"


def insider(address: str, **headers: str) -> bool:
    return is_insider(RequestFactory().get("/metrics", REMOTE_ADDR=address, headers=headers))


class TestByAddress:
    @pytest.mark.parametrize("address", ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1"])
    def test_this_machine_is_inside_by_default(self, address: str) -> None:
        assert insider(address)

    @pytest.mark.parametrize(
        "address", [STRANGER, "10.0.0.1", "172.18.0.1", "::ffff:203.0.113.9", "2001:db8::1", ""]
    )
    def test_others_are_not(self, address: str) -> None:
        assert not insider(address)

    @pytest.mark.parametrize(
        "mark",
        [
            {"X-Forwarded-For": STRANGER},
            {"X-Forwarded-For": "127.0.0.1"},
            {"X-Forwarded-For": ""},
            {"Forwarded": "for=127.0.0.1"},
            {"X-Forwarded-Proto": "https"},
            {"X-Real-IP": "127.0.0.1"},
            {"Via": "1.1 proxy"},
        ],
    )
    def test_nobody_is_behind_a_proxy_that_does_not_count(self, mark: dict[str, str]) -> None:
        assert not insider("127.0.0.1", **mark)

    def test_behind_a_proxy_that_counts_the_address_it_saw_decides(
        self, settings: Settings
    ) -> None:
        settings.WEB_PROXIES = 1
        assert not insider("127.0.0.1", **{"X-Forwarded-For": STRANGER})
        assert not insider("127.0.0.1", **{"X-Forwarded-For": f"127.0.0.1, {STRANGER}"})
        assert insider("127.0.0.1", **{"X-Forwarded-For": f"{STRANGER}, 127.0.0.1"})
        assert insider("127.0.0.1")
        assert not insider("127.0.0.1", **{"X-Forwarded-Proto": "https"})

    def test_networks_can_be_named_and_be_none(self, settings: Settings) -> None:
        settings.MONITORING_NETWORKS = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]
        assert insider("10.1.2.3")
        assert insider("fd12::1")
        assert not insider("127.0.0.1")
        settings.MONITORING_NETWORKS = []
        assert not insider("10.1.2.3")


class TestByToken:
    @pytest.fixture(autouse=True)
    def _token(self, settings: Settings) -> None:
        settings.MONITORING_TOKEN = TOKEN

    @pytest.mark.parametrize("value", [f"Bearer {TOKEN}", f"bearer {TOKEN}"])
    def test_it_is_enough_from_anywhere(self, value: str) -> None:
        assert insider(STRANGER, Authorization=value)
        assert insider("127.0.0.1", Authorization=value, **{"X-Forwarded-For": STRANGER})

    @pytest.mark.parametrize(
        "value", ["", "Bearer", "Bearer ", f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN, "Bearer é"]
    )
    def test_anything_else_is_not(self, value: str) -> None:
        assert not insider(STRANGER, Authorization=value)

    def test_without_one_in_the_settings_none_is(self, settings: Settings) -> None:
        settings.MONITORING_TOKEN = None
        assert not insider(STRANGER, Authorization="Bearer None")
        assert not insider(STRANGER, Authorization="Bearer ")


@pytest.mark.django_db
@pytest.mark.usefixtures("channel_layer", "streams")
class TestWhatOthersGet:
    @pytest.mark.parametrize("path", ["/metrics", "/%6Detrics", "/metrics?format=text"])
    def test_no_figures(self, path: str) -> None:
        response = Client(REMOTE_ADDR=STRANGER).get(path)
        assert response.status_code == 403
        assert b"lepret_" not in response.content

    @pytest.mark.parametrize("path", ["/metrics/", "/METRICS", "/loans/metrics"])
    def test_nothing_at_other_addresses(self, path: str) -> None:
        assert Client(REMOTE_ADDR="127.0.0.1").get(path).status_code == 404

    def test_of_readiness_only_the_status(self) -> None:
        response = Client(REMOTE_ADDR=STRANGER).get("/readyz")
        assert (response.status_code, response.json()) == (200, {"status": "ok"})

    @pytest.mark.usefixtures("no_event_store")
    def test_the_status_when_something_is_down(self) -> None:
        response = Client(REMOTE_ADDR=STRANGER).get("/readyz")
        assert (response.status_code, response.json()) == (503, {"status": "unavailable"})
