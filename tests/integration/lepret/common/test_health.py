"""The health endpoints, while everything runs and while something is down."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.test import Client, RequestFactory

from lepret.common.health import Finding, readiness
from tests.support.processes import PATIENCE

pytestmark = [pytest.mark.usefixtures("streams"), pytest.mark.django_db]


def test_alive(client: Client) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}


@pytest.mark.usefixtures("channel_layer")
def test_ready_names_each_part(client: Client) -> None:
    response = client.get("/readyz")
    assert response.status_code == 200
    checks = {"database": "ok", "event_store": "ok", "channel_layer": "ok"}
    assert response.json()["status"] == "ok"
    assert response.json()["checks"] == checks
    assert response.json()["reasons"] == {}


@pytest.mark.usefixtures("channel_layer", "no_event_store")
def test_not_ready_names_what_is_down(client: Client) -> None:
    response = client.get("/readyz")
    assert response.status_code == 503
    assert response.json()["checks"]["event_store"] == "unavailable"
    assert response.json()["checks"]["database"] == "ok"
    assert response.json()["reasons"] == {"event_store": "it does not answer (ServiceUnavailable)"}


class Rounds:
    """A check that counts how often it is made, and lasts until it is let go."""

    def __init__(self) -> None:
        self.count = 0
        self.go = threading.Event()

    def __call__(self) -> Finding:
        self.count += 1
        assert self.go.wait(PATIENCE)
        return Finding({"round": self.count}, is_ready=True)


async def ask(view: Any) -> Any:
    """What the check `extra` found, as an insider is told."""
    response = await view(RequestFactory().get("/readyz"))
    return json.loads(response.content)["extra"]


@pytest.mark.usefixtures("channel_layer")
class TestManyCallers:
    def test_share_a_round_of_checks_even_if_the_first_goes_away(self) -> None:
        check = Rounds()
        view = readiness({"extra": check}, holds_seconds=60)

        async def many() -> list[Any]:
            first = asyncio.create_task(ask(view))
            others = [asyncio.create_task(ask(view)) for _ in range(20)]
            await asyncio.sleep(0)  # All have asked.
            first.cancel()
            check.go.set()
            return [*await asyncio.gather(*others), await ask(view)]

        assert async_to_sync(many)() == [{"round": 1}] * 21

    def test_are_answered_by_a_new_round_when_the_last_one_is_old(self) -> None:
        check = Rounds()
        check.go.set()
        view = readiness({"extra": check}, holds_seconds=0)

        async def two() -> list[Any]:
            return [await ask(view), await ask(view)]

        assert async_to_sync(two)() == [{"round": 1}, {"round": 2}]
