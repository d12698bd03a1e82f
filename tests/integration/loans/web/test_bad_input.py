"""Bad input in the form, in the validation while typing, and in the JSON API."""

from __future__ import annotations

import json
import re
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from pytest_django import Settings

from loans.web.amounts import amount_in
from loans.web.forms import RequestLoanForm
from tests.support.api import application, somebody
from tests.support.bad_input import (
    AMOUNTS_TYPED,
    BAD_AMOUNTS_IN_JSON,
    BAD_AMOUNTS_TYPED,
    BAD_TEXT,
    GOOD,
    PASTED,
)

pytestmark = [pytest.mark.usefixtures("streams"), pytest.mark.django_db]

TYPED: dict[str, str] = {name: str(value) for name, value in GOOD.items()}
BAD_TYPED = {
    **BAD_TEXT,
    **{f"amount: {case}": ("amount", typed) for case, typed in BAD_AMOUNTS_TYPED.items()},
}
BAD_JSON: dict[str, tuple[str, Any]] = {
    **BAD_TEXT,
    **{f"amount: {case}": ("amount", value) for case, value in BAD_AMOUNTS_IN_JSON.items()},
    "a name that is no text": ("name", 5),
    "a name that is half a character": ("name", "Ann\ud800Example"),
    "an id that is none": ("id", "not-a-uuid"),
    "an unknown field": ("credit_score", 10),
}


def post_json(client: Client, body: Any, **headers: str) -> Any:
    text = body if isinstance(body, (str, bytes)) else json.dumps(body)
    return client.post("/api/loan-requests", text, content_type="application/json", headers=headers)


@pytest.mark.parametrize(("field", "typed"), BAD_TYPED.values(), ids=BAD_TYPED.keys())
def test_the_form_shows_the_error_beside_its_field_and_keeps_what_was_typed(
    client: Client, field: str, typed: str
) -> None:
    response = client.post("/", {"id": str(uuid4()), **TYPED, field: typed})

    form = response.context["form"]
    assert response.status_code == 422
    assert list(form.errors) == [field]
    assert form[field].value() == typed
    assert form["name" if field != "name" else "address"].value() != ""


@pytest.mark.parametrize(("field", "typed"), BAD_TYPED.values(), ids=BAD_TYPED.keys())
def test_the_error_appears_while_typing(client: Client, field: str, typed: str) -> None:
    response = client.post(f"/validate/?field={field}", {"id": str(uuid4()), field: typed})

    html = response.content.decode()
    assert response.status_code == 200
    assert f'id="id_{field}_error"' in html
    assert html.split(">", 1)[1].strip() != "</small>"


@pytest.mark.parametrize("field", TYPED)
def test_a_good_field_shows_no_error_while_typing(client: Client, field: str) -> None:
    response = client.post(f"/validate/?field={field}", {field: TYPED[field]})
    assert response.content.decode().split(">", 1)[1].strip() == "</small>"


@pytest.mark.parametrize(("field", "typed", "_meant"), PASTED.values(), ids=PASTED.keys())
def test_what_is_pasted_shows_no_error(client: Client, field: str, typed: str, _meant: str) -> None:
    response = client.post(f"/validate/?field={field}", {field: typed})
    assert response.content.decode().split(">", 1)[1].strip() == "</small>"


@pytest.mark.parametrize(("typed", "amount"), AMOUNTS_TYPED.items(), ids=AMOUNTS_TYPED.keys())
def test_amounts_are_taken_as_people_write_them(typed: str, amount: int) -> None:
    form = RequestLoanForm({"id": str(uuid4()), **TYPED, "amount": typed})
    assert form.is_valid(), form.errors
    assert form.command.amount == amount


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("10.50", "Whole British pounds only, such as £10,000."),
        ("10.000", "Write, for example, 10,000 or 10000."),
        ("$10000", "An amount is in British pounds"),
        ("10000 EUR", "An amount is in British pounds"),
        ("ten", "Write a whole number of British pounds in digits, such as £10,000."),
        ("-5", "An amount is at least £1."),
        ("10,000,000,000", "An amount is at most £9,999,999,999."),
    ],
)
def test_the_words_say_what_is_wrong_with_an_amount(typed: str, words: str) -> None:
    [error] = RequestLoanForm({**TYPED, "amount": typed}).errors["amount"]
    assert words in error


@pytest.mark.parametrize(
    ("currency", "typed", "amount"),
    [
        ("CAD", "$10,000", 10_000),
        ("CAD", "CA$10,000", 10_000),
        ("USD", "US$ 5", 5),
        ("CHF", "CHF 10'000.00", 10_000),
        ("EUR", "10.000,00 €", 10_000),
        ("EUR", "£10,000", "£10,000"),
    ],
)
def test_amounts_are_in_the_currency_of_the_settings(
    settings: Settings, currency: str, typed: str, amount: int | str
) -> None:
    settings.CURRENCY = currency
    assert amount_in(typed) == amount


def test_the_form_shows_the_currency_beside_the_amount(client: Client, settings: Settings) -> None:
    settings.CURRENCY = "EUR"
    html = client.get("/").content.decode()
    assert re.search(r'<span aria-hidden="true">€</span><input type="text" name="amount"', html)
    assert "Whole euros, such as €10,000." in html
    assert 'inputmode="numeric"' in html


@pytest.mark.parametrize("query", ["", "?field=no_such_field"])
def test_validation_while_typing_needs_a_field_of_the_form(client: Client, query: str) -> None:
    assert client.post(f"/validate/{query}", TYPED).status_code == 400


@pytest.mark.parametrize(("field", "value"), BAD_JSON.values(), ids=BAD_JSON.keys())
def test_the_api_names_the_field(client: Client, field: str, value: Any) -> None:
    response = post_json(client, {**GOOD, field: value})

    problem = response.json()
    assert response.status_code == 422
    assert response["Content-Type"] == "application/problem+json"
    assert [error["field"] for error in problem["errors"]] == [field]
    assert all(error["message"].endswith(".") for error in problem["errors"])


@pytest.mark.parametrize("pasted", ["{0}{2}", " {0} {1}\t", "{0}-{2}", "{0}\u2011\u200b{1}"])
def test_a_national_id_pasted_is_the_same_persons(client: Client, pasted: str) -> None:
    first = application(score=5)
    digits, letters = first["national_id"][:6], first["national_id"][6:]
    assert post_json(client, first).status_code == 201

    sent = pasted.format(digits, letters, letters.upper())
    again = {"name": "Ann Example", "amount": "5000", "national_id": sent}
    by_api = post_json(client, {**again, "amount": 5000})
    by_form = client.post("/", {**again, "id": str(uuid4())})

    assert (by_api.status_code, by_form.status_code) == (409, 409)


def test_a_call_sent_again_with_other_spaces_is_the_same_call(client: Client) -> None:
    key = {"Idempotency-Key": str(uuid4())}
    body = {"name": "Jos\u00e9 Example", "national_id": somebody(), "amount": 5000}
    spaced = {**body, "name": " Jose\u0301  Example", "national_id": f" {body['national_id']}-"}
    first, second = post_json(client, body, **key), post_json(client, spaced, **key)
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json()["id"] == second.json()["id"]


@pytest.mark.parametrize("field", ["name", "national_id", "amount"])
def test_the_api_names_a_field_that_is_missing(client: Client, field: str) -> None:
    body = {name: value for name, value in GOOD.items() if name != field}
    problem = post_json(client, body).json()
    assert problem["errors"] == [{"field": field, "message": "This field is required."}]


@pytest.mark.parametrize(
    "document", ["", "{", "Ann Example", b"\xff\xfe", "[]", '"text"', "5", "null"]
)
def test_the_api_refuses_a_document_that_is_no_json_object(
    client: Client, document: str | bytes
) -> None:
    response = post_json(client, document)
    assert response.status_code == 400
    assert response["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    "amount", ["NaN", "Infinity", "-Infinity", "9" * 5000, "01", "[" * 60_000, '{"a":' * 10_000]
)
def test_the_api_refuses_what_only_some_readers_take_for_json(client: Client, amount: str) -> None:
    body = json.dumps({**GOOD, "amount": "here"}).replace('"here"', amount)
    response = post_json(client, body)
    assert response.status_code == 400
    assert response["Content-Type"] == "application/problem+json"
    assert len(response.content) < 300


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ('"name": "Bob Example"', "name"),
        (r'"n\u0061me": "Bob Example"', "name"),
        ('"name": "Ann Example"', "name"),
        ('"id": null, "id": null', "id"),
        ('"x": [{"y": {"z": "secret", "z": "secret"}}]', "z"),
        ('"": 1, "": 2', ""),
        (r'"\ud800": 1, "\uD800": 2', r"\ud800"),
        ('"' + "x" * 20_000 + '": 1, "' + "x" * 20_000 + '": 2', "x" * 60 + "…"),
    ],
)
def test_the_api_refuses_two_fields_of_one_name_and_names_it(
    client: Client, more: str, field: str
) -> None:
    response = post_json(client, f"{json.dumps(GOOD)[:-1]}, {more}}}")
    problem = response.json()
    assert response.status_code == 400
    assert response["Content-Type"] == "application/problem+json"
    assert problem["detail"] == "The body cannot be read. It has two fields of the same name."
    assert problem["errors"] == [
        {"field": field, "message": "This must not be given more than once."}
    ]


def test_the_api_names_few_of_many_fields_that_are_there_twice(client: Client) -> None:
    fields = [f'"field{number}": 1' for number in range(1500)]
    response = post_json(client, "{" + ", ".join(fields + fields) + "}")
    assert response.status_code == 400
    assert len(response.json()["errors"]) == 20


@pytest.mark.parametrize(
    ("document", "why"),
    [
        (b'{"name": "Zo\xeb"}', "It is not in UTF-8."),
        (b'{"name": "\xed\xa0\x80"}', "It is not in UTF-8."),
        (b"\xef\xbb\xbf{}", "It begins with a byte-order mark, which JSON does not have."),
        ('{"name": "secret",}', "It is no JSON: look at line 1, column 19."),
        ('{\n"name": secret}', "It is no JSON: look at line 2, column 9."),
        ('{"name": "\x01"}', "It is no JSON: look at line 1, column 11."),
        ('{"amount": NaN}', "It is no JSON: NaN is no number there."),
        ('{"amount": ' + "9" * 5_000 + "}", "A number in it has too many digits."),
        ("[" * 60_000, "It is nested too deeply."),
        ('{"a":' * 10_000 + "1" + "}" * 10_000, "It is nested too deeply."),
    ],
)
def test_the_api_says_why_it_cannot_read_a_document(
    client: Client, document: str | bytes, why: str
) -> None:
    response = post_json(client, document)
    assert response.status_code == 400
    assert response.json()["detail"] == f"The body cannot be read. {why}"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32", "latin-1"])
def test_the_api_refuses_json_in_another_encoding(client: Client, encoding: str) -> None:
    body = json.dumps({**GOOD, "name": "Zoë Example"}, ensure_ascii=False).encode(encoding)
    assert post_json(client, body).status_code == 400


def test_the_api_lists_twenty_errors_and_says_that_there_are_more(client: Client) -> None:
    unknown = {f"field{number}": 1 for number in range(3000)}
    problem = post_json(client, {**GOOD, "amount": 0, **unknown}).json()
    assert problem["detail"] == ("Some values cannot be used. There are more errors than these 20.")
    assert [each["field"] for each in problem["errors"]] == [
        "amount",
        *(f"field{number}" for number in range(19)),
    ]


def test_the_api_lists_all_errors_if_there_are_no_more_than_twenty(client: Client) -> None:
    problem = post_json(client, {**GOOD, **{f"field{number}": 1 for number in range(20)}}).json()
    assert problem["detail"] == "Some values cannot be used."
    assert len(problem["errors"]) == 20


def test_the_api_shortens_the_names_of_unknown_fields(client: Client) -> None:
    response = post_json(client, {**GOOD, "x" * 60_000: 1})
    assert response.json()["errors"] == [
        {"field": "x" * 60 + "…", "message": "There is no such field."}
    ]


def test_the_api_refuses_a_document_that_is_too_large(client: Client) -> None:
    response = post_json(client, {**GOOD, "address": "A" * 3_000_000})
    assert response.status_code == 413
    assert response["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("key", ["", "not-a-uuid", "12"])
def test_an_idempotency_key_must_be_a_uuid(client: Client, key: str) -> None:
    response = post_json(client, GOOD, **{"Idempotency-Key": key})
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == "Idempotency-Key"
