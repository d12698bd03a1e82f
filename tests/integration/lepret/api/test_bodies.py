"""Which types of bodies the API takes, and that it takes none that is compressed."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.urls import reverse

from lepret.urls import api
from tests.support.api import somebody
from tests.support.bad_input import GOOD

pytestmark = [pytest.mark.usefixtures("streams"), pytest.mark.django_db]

APPLY = "/api/loan-requests"
BODY = json.dumps({**GOOD, "national_id": "999999aa"})


def post(
    path: str, content_type: str, body: str | bytes = BODY, headers: Mapping[str, str] | None = None
) -> Any:
    return Client().generic("POST", path, body, content_type=content_type, headers=headers)


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "Application/JSON",
        "application/json; charset=UTF-8",
        'application/json;charset="utf-8"',
    ],
)
def test_json_is_taken(content_type: str) -> None:
    assert post(APPLY, content_type).status_code == 201


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/plain",
        "text/plain; application/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=here",
        "application/merge-patch+json",
        "application/problem+json",
        "application/json, text/plain",
        "application/json; charset=utf-16",
        "application/json; charset=none-such",
        "*/*",
    ],
)
def test_anything_else_is_refused_and_the_answer_says_what_is_taken(content_type: str) -> None:
    response = post(APPLY, content_type)
    assert response.status_code == 415
    assert response["Content-Type"] == "application/problem+json"
    assert response["Accept"] == "application/json"
    assert "application/json" in response.json()["detail"]


@pytest.mark.parametrize("coding", ["identity", "Identity", "", " , identity"])
def test_a_body_that_is_not_compressed_is_taken(coding: str) -> None:
    body = json.dumps({**GOOD, "national_id": somebody()})
    response = post(APPLY, "application/json", body, {"Content-Encoding": coding})
    assert response.status_code == 201


@pytest.mark.parametrize(
    "coding",
    ["gzip", "GZIP", "x-gzip", "deflate", "br", "zstd", "gzip, gzip", "identity,gzip", "none-such"],
)
def test_a_compressed_body_is_refused_whatever_it_holds(coding: str) -> None:
    for content_type in ("application/json", "text/plain"):
        for body in (gzip.compress(BODY.encode()), b"no stream", BODY):
            response = post(APPLY, content_type, body, {"Content-Encoding": coding})
            assert response.status_code == 415
            assert response["Content-Type"] == "application/problem+json"
            # RFC 9110, section 15.5.16: it tells this from a type that is not taken.
            assert response["Accept-Encoding"] == "identity"
            assert "Accept" not in response
            assert "uncompressed" in response.json()["detail"]


def operations() -> list[tuple[str, str]]:
    """The method and address of every operation that changes something."""
    return [
        (method, reverse(f"api:{operation.view_func.__name__}", kwargs=_ids_in(operation.path)))
        for router in (each for _, each in api._routers)  # noqa: SLF001 (ninja lists them nowhere)
        for view in router.path_operations.values()
        for operation in view.operations
        for method in operation.methods
        if method not in ("GET", "HEAD", "OPTIONS")
    ]


def _ids_in(path: str) -> dict[str, str]:
    return {"id": str(uuid4())} if "{id}" in path else {}


def test_every_operation_that_changes_something_takes_json_only() -> None:
    found = operations()
    assert len(found) >= 3
    for method, path in found:
        response = Client().generic(method, path, BODY, content_type="text/plain")
        assert response.status_code == 415, path


def test_the_document_says_so_for_every_operation_with_a_body() -> None:
    document = api.get_openapi_schema()
    with_a_body = [
        operation
        for methods in document["paths"].values()
        for operation in methods.values()
        if "requestBody" in operation
    ]
    assert len(with_a_body) >= 3
    for operation in with_a_body:
        assert 415 in operation["responses"], operation["operationId"]
        assert list(operation["requestBody"]["content"]) == ["application/json"]


def test_a_call_without_a_body_is_told_what_the_body_must_be() -> None:
    response = post(APPLY, "", "")
    assert response.status_code == 400
