"""Errors that no operation of the API answers."""

from __future__ import annotations

from django.test import Client


def test_addresses_that_are_not_there_are_problems_too(client: Client) -> None:
    response = client.get("/api/nothing")
    assert response.status_code == 404
    assert response["Content-Type"] == "application/problem+json"
