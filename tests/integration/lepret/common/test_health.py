"""The health endpoints, while everything runs and while something is down."""

from __future__ import annotations

import pytest
from django.test import Client

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


@pytest.mark.usefixtures("channel_layer", "no_event_store")
def test_not_ready_names_what_is_down(client: Client) -> None:
    response = client.get("/readyz")
    assert response.status_code == 503
    assert response.json()["checks"]["event_store"] == "unavailable"
    assert response.json()["checks"]["database"] == "ok"
