"""Errors outside of the API's operations."""

from __future__ import annotations

from django.test import Client


def test_an_unknown_address_is_answered_with_a_problem_document(client: Client) -> None:
    response = client.get("/api/nothing")
    assert response.status_code == 404
    assert response["Content-Type"] == "application/problem+json"
