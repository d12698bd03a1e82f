"""The OpenAPI document is complete, and the same as the file in `docs/`."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from openapi_spec_validator import OpenAPIV31SpecValidator

from tests.support.processes import PROJECT

KEPT = PROJECT / "docs" / "openapi.json"
RENEW = "uv run manage.py export_openapi_schema --indent 2 --output docs/openapi.json"


@pytest.fixture(scope="module")
def document() -> Any:
    return json.loads(KEPT.read_text())


def operations(document: Any) -> list[Any]:
    return [operation for path in document["paths"].values() for operation in path.values()]


def test_the_file_in_docs_is_what_is_served(client: Client, tmp_path: Path, document: Any) -> None:
    now = tmp_path / "openapi.json"
    call_command("export_openapi_schema", indent=2, output=now)
    assert now.read_text() == KEPT.read_text(), f"the API has changed; if it should, run: {RENEW}"
    assert client.get("/api/openapi.json").json() == document


def flaws(document: Any) -> list[str]:
    """What OpenAPI 3.1 does not allow in the document."""
    errors = OpenAPIV31SpecValidator(document).iter_errors()
    return [f"{each.json_path}: {each.message}" for each in errors]


def test_it_is_valid(document: Any) -> None:
    assert document["openapi"].startswith("3.1.")
    assert flaws(document) == []


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        (("get", "parameters", 1, "examples"), [4711]),
        (("get", "parameters", 0, "in"), "somewhere"),
        (("get", "responses", "200", "description"), None),
        (("get", "operationId"), "request_loan"),
        (("get", "parameters", 0, "name"), "another"),
    ],
)
def test_a_flaw_would_be_seen(document: Any, path: tuple[Any, ...], wrong: Any) -> None:
    broken = copy.deepcopy(document)
    place = broken["paths"]["/api/loan-requests/{id}"]
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = wrong
    assert flaws(broken) != []


def test_the_examples_of_parameters_have_names(document: Any) -> None:
    parameters = [each for operation in operations(document) for each in operation["parameters"]]
    with_examples = [each for each in parameters if "examples" in each]
    assert len(with_examples) >= 4
    for each in with_examples:
        values = [example["value"] for example in each["examples"].values()]
        assert values == each["schema"]["examples"]


def test_the_documentation_page_loads_nothing_from_elsewhere(client: Client) -> None:
    page = client.get("/api/docs").content.decode()
    assert "/api/openapi.json" in page
    assert "https://" not in page


def test_operation_ids_make_good_method_names(document: Any) -> None:
    assert sorted(each["operationId"] for each in operations(document)) == [
        "add_note",
        "approve_loan_request",
        "claim_loan_request",
        "claim_next",
        "deny_loan_request",
        "escalate_loan_request",
        "get_loan_request",
        "get_policy",
        "hand_over_loan_request",
        "list_queue",
        "release_loan_request",
        "request_loan",
    ]
    assert all(len(each["tags"]) == 1 for each in operations(document))


@pytest.mark.parametrize(
    ("operation_id", "statuses"),
    [
        ("request_loan", {201, 400, 401, 403, 409, 410, 413, 415, 422}),
        ("get_loan_request", {200, 304, 400, 401, 404, 410, 422}),
        ("list_queue", {200, 400, 401, 403, 422}),
        ("get_policy", {200, 400, 401, 403}),
        ("approve_loan_request", {200, 400, 401, 403, 404, 409, 410, 412, 413, 415, 422, 428}),
        ("add_note", {200, 400, 401, 403, 404, 409, 410, 413, 415, 422}),
        ("deny_loan_request", {200, 400, 401, 403, 404, 409, 410, 412, 413, 415, 422, 428}),
        ("claim_loan_request", {200, 400, 401, 403, 404, 409, 410, 413, 415, 422}),
        ("release_loan_request", {200, 400, 401, 403, 404, 409, 410, 413, 415, 422}),
        ("hand_over_loan_request", {200, 400, 401, 403, 404, 409, 410, 413, 415, 422}),
        ("escalate_loan_request", {200, 400, 401, 403, 404, 409, 410, 413, 415, 422}),
        ("claim_next", {200, 400, 401, 403, 404, 413, 415, 422}),
    ],
)
def test_every_response_status_is_documented(
    document: Any, operation_id: str, statuses: set[int]
) -> None:
    (operation,) = (each for each in operations(document) if each["operationId"] == operation_id)
    assert {int(each) for each in operation["responses"]} == statuses | {429, 500, 503}


def test_every_error_is_a_problem_document(document: Any) -> None:
    errors = [
        (int(status), answer["content"])
        for answers in _answers(document)
        for status, answer in answers.items()
        if int(status) >= 400
    ]
    assert len(errors) > 30
    for status, content in errors:
        assert list(content) == ["application/problem+json"]
        problem = content["application/problem+json"]
        assert problem["schema"] == {"$ref": "#/components/schemas/ProblemDocument"}
        assert problem["example"]["status"] == status
        assert problem["example"]["detail"]


def test_headers_that_callers_need_are_documented(document: Any) -> None:
    needed = {"401": "WWW-Authenticate", "412": "ETag", "429": "Retry-After", "503": "Retry-After"}
    for operation in operations(document):
        answers = operation["responses"]
        for status, header in needed.items():
            assert status not in answers or header in answers[status]["headers"]
    (created,) = (answers["201"] for answers in _answers(document) if "201" in answers)
    assert set(created["headers"]) == {"ETag", "Location"}


def _answers(document: Any) -> list[Any]:
    return [each["responses"] for each in operations(document)]


def test_scopes_are_documented(document: Any) -> None:
    security = {each["operationId"]: each["security"] for each in operations(document)}
    assert security == {
        "request_loan": [{"Bearer": ["requests:create"]}, {}],
        "get_loan_request": [{"Bearer": []}, {}],
        "list_queue": [{"Bearer": ["queue:read"]}],
        "approve_loan_request": [{"Bearer": ["requests:decide"]}],
        "add_note": [{"Bearer": ["requests:decide"]}],
        "deny_loan_request": [{"Bearer": ["requests:decide"]}],
        "claim_loan_request": [{"Bearer": ["requests:decide"]}],
        "release_loan_request": [{"Bearer": ["requests:decide"]}],
        "hand_over_loan_request": [{"Bearer": ["requests:decide"]}],
        "escalate_loan_request": [{"Bearer": ["requests:decide"]}],
        "claim_next": [{"Bearer": ["requests:decide"]}],
        "get_policy": [{"Bearer": ["policy:read"]}],
    }
    description = document["components"]["securitySchemes"]["Bearer"]["description"]
    assert all(scope in description for scope in ("requests:create", "queue:read"))


def test_values_are_documented_with_limits_and_an_example(document: Any) -> None:
    schemas = document["components"]["schemas"]
    application = schemas["LoanApplication"]
    assert application["additionalProperties"] is False
    assert application["properties"]["amount"]["maximum"] == 9_999_999_999
    answer = schemas["LoanRequestAnswer"]["properties"]
    assert answer["status"]["enum"] == ["received", "under_review", "approved", "denied"]
    assert "commit position" in answer["position"]["description"]
    denial = schemas["Denial"]["properties"]
    assert denial["reason"]["deprecated"] is True
    assert (denial["reasons"]["minItems"], denial["reasons"]["maxItems"]) == (1, 4)
    in_others = {
        *("FieldError", "QueuedRequest", "Status", "InWords"),
        *("ProblemDocument", "Awaiting", "Show", "Wanted"),
    }
    in_policy = {"Policy", "Reason", "Factor", "Lender", "Supervisor", "Bureau", "Law"}
    without = {name for name, each in schemas.items() if "examples" not in each}
    assert without == in_others | in_policy


def test_parameters_are_documented(document: Any) -> None:
    for operation in operations(document):
        for parameter in operation["parameters"]:
            assert parameter["in"] == "path" or parameter["description"]
            assert "null" not in json.dumps(parameter["schema"])
