"""What people write into admin's addresses and forms never makes an error of the server's."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.test import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lepret.models import ApiToken
from readmodels.models import LoanRequest
from tests.support.back_office import IN_BACK_OFFICE
from tests.support.read_models import ReadModelsDatabase

pytestmark = [
    pytest.mark.usefixtures("streams", "read_models"),
    pytest.mark.django_db,
    # Django's own admin templates use undefined variables.
    pytest.mark.ignore_template_errors,
]

AT = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
MODELS: tuple[Any, ...] = (*IN_BACK_OFFICE, User, ApiToken)
# The same in each process, since it is in the names of tests.
NOBODY = "a1b2c3d4-e5f6-4a7b-8c9d-0e1f2a3b4c5d"
VALUES = (
    *("", "0", "-1", "1", "12", "13", "32", "99", "9999", "10000", "1" * 30, "9" * 5000, "1e999"),
    *(
        "nan",
        "\x00",
        "a\x00b",
        "\udcff",
        "None",
        "True",
        "abc",
        "²",
        "%",
        "'",
        "\\",
        "(",
        "a" * 300,
    ),
    *("2026-11-23", "0001-01-01", "9999-12-31 23:59:59", "2026-02-30", "1,2", "a,b", "-1.1.x"),
    *(NOBODY, "deadbeef", "{}", "id", "pk", "../..", "٣"),
)
KEYS = (
    *(
        "q",
        "p",
        "o",
        "e",
        "all",
        "_facets",
        "_popup",
        "_to_field",
        "_changelist_filters",
        "outcome",
    ),
    *(
        "pk",
        "id",
        "nonsense",
        "__",
        "status__",
        "action",
        "id__in",
        "pk__exact",
        "name__startswith",
    ),
)
LOOKUPS = (
    *("", "__exact", "__iexact", "__gte", "__lt", "__in", "__range", "__isnull", "__icontains"),
    *("__year", "__month", "__day", "__week_day", "__hour", "__year__gte", "__date", "__time"),
    *("__regex", "__nonsense", "__iso_year", "__quarter", "__lower"),
)
values = st.sampled_from(VALUES) | st.text(max_size=20) | st.integers().map(str)
# What does not touch the database between examples, but for sessions and messages.
many = settings(
    max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)


@pytest.fixture
def admin(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("root"))
    LoanRequest.objects.create(
        id=uuid4(), name="Ann", national_id="555555aa", amount=1, requested_at=AT
    )
    return client


def path(model: Any, page: str = "") -> str:
    return f"/admin/{model._meta.app_label}/{model._meta.model_name}/{page}"


def ask(client: Client, address: str, query: dict[str, str]) -> int:
    """The answer's status. An error of the server's is raised here."""
    sent = {key: text.encode(errors="surrogatepass") for key, text in query.items()}
    return client.get(address, sent).status_code


@st.composite
def queries(draw: st.DrawFn) -> tuple[Any, dict[str, str]]:
    model = draw(st.sampled_from(MODELS))
    fields = st.sampled_from([field.name for field in model._meta.fields])
    lookups = st.builds(lambda field, lookup: field + lookup, fields, st.sampled_from(LOOKUPS))
    keys = st.sampled_from(KEYS) | lookups
    return model, draw(st.dictionaries(keys, values, max_size=4))


@many
@given(asked=queries())
def test_any_query_of_a_list(admin: Client, asked: tuple[Any, dict[str, str]]) -> None:
    model, query = asked
    assert ask(admin, path(model), query) in (200, 302, 400)


@pytest.mark.parametrize(
    "query",
    [
        {"requested_at__year": "9999"},
        {"requested_at__year": "9999", "requested_at__month": "12"},
        {"requested_at__year": "9999", "requested_at__month": "12", "requested_at__day": "31"},
        {"requested_at__year": "1", "requested_at__month": "1", "requested_at__day": "1"},
        {"requested_at__year": "9" * 5000},
        {"requested_at__year": "2026", "requested_at__month": "13"},
        {"requested_at__gte": "0001-01-01", "requested_at__lt": "9999-12-31 23:59:59+00:00"},
        {"status__exact": "\x00"},
        {"decided_by": "a\x00"},
        {"name__iregex": "("},
        {"status__range": "0"},
        {"name__range": "1,2"},
        {"credit_score__range": "1,2,3"},
        {"requested_at__year__range": "2026,"},
        {"q": "\x00"},
        {"p": "9" * 100},
        {"_facets": "True", "status__exact": "\x00"},
        {"e": "1", "credit_score": "abc"},
    ],
    ids=str,
)
def test_what_was_an_error(admin: Client, query: dict[str, str]) -> None:
    assert ask(admin, path(LoanRequest), query) in (200, 302, 400)


@pytest.mark.parametrize("text", VALUES, ids=ascii)
def test_any_id_in_an_address(admin: Client, text: str) -> None:
    loan_requests = ContentType.objects.get_for_model(LoanRequest)
    pages = [path(model, page) for model in MODELS for page in ("{}/change/", "{}/history/")]
    pages += [path(User, "{}/password/"), path(User, "{}/delete/")]
    for page in (*pages, f"/admin/r/{loan_requests.pk}/{{}}/", "/admin/r/{}/1/"):
        quoted = "".join(f"%{byte:02X}" for byte in text.encode(errors="surrogatepass"))
        assert admin.get(page.replace("{}", quoted)).status_code in (200, 302, 301, 400, 404)


@pytest.mark.parametrize("action", ["export_as_csv", "export_as_xlsx", "revoke", "end_sessions"])
@pytest.mark.parametrize("text", ["abc", "\x00", "9" * 100, "", NOBODY], ids=ascii)
def test_any_id_that_is_selected(admin: Client, text: str, action: str) -> None:
    for model in MODELS:
        form = {"action": action, "_selected_action": [text], "index": "9" * 100}
        for sent in (form, {**form, "index": "0"}):
            response: Any = admin.post(path(model), sent)
            assert response.status_code in (200, 302, 400)
            b"".join(response)


def test_an_error_of_ours_is_in_the_log(
    admin: Client, caplog: pytest.LogCaptureFixture, read_models: ReadModelsDatabase
) -> None:
    assert ask(admin, path(LoanRequest), {"requested_at__year": "9999"}) == 400
    assert "A request to admin cannot be answered: ValueError at" in caplog.text
