"""The page where a lost request is found by its number and the national ID."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core.cache import cache
from django.test import Client
from pytest_django import DjangoAssertNumQueries, Settings

from lepret.common.request_numbers import number_of
from lepret.environment import Rate
from readmodels.models import LoanRequest
from tests.support.loans import AT, ZOE

pytestmark = pytest.mark.django_db

MINUTES = 60
NOT_FOUND = "There is no request with this number and this national ID."


@pytest.fixture(autouse=True)
def _limits() -> None:
    cache.clear()


@pytest.fixture
def loan() -> UUID:
    return of_zoe(uuid4())


def of_zoe(loan: UUID, national_id: str = ZOE.national_id) -> UUID:
    person: dict[str, Any] = {"name": ZOE.name, "national_id": national_id, "requested_at": AT}
    return LoanRequest.objects.create(id=loan, status="approved", amount=5000, **person).id


def find(number: object, national_id: str = ZOE.national_id, address: str = "192.0.2.1") -> Any:
    form = {"number": str(number), "national_id": national_id}
    return Client(REMOTE_ADDR=address).post("/find/", form)


class TestFinding:
    @pytest.mark.parametrize("how", [str, str.lower, lambda number: f" {number} \t"])
    def test_leads_to_the_page_of_the_request(self, loan: UUID, how: Any) -> None:
        response = find(how(number_of(loan)))
        assert (response.status_code, response["Location"]) == (302, f"/loans/{loan}/")

    def test_takes_a_whole_id_and_any_case_of_the_national_id(self, loan: UUID) -> None:
        assert find(loan, ZOE.national_id.upper())["Location"] == f"/loans/{loan}/"

    def test_tells_apart_those_with_the_same_number(self, loan: UUID) -> None:
        other = UUID(int=loan.int ^ 1)
        of_zoe(other, "111111bb")
        assert find(number_of(loan))["Location"] == f"/loans/{loan}/"
        assert find(number_of(loan), "111111bb")["Location"] == f"/loans/{other}/"

    def test_says_the_same_after_the_same_query_whatever_was_wrong(
        self, loan: UUID, django_assert_num_queries: DjangoAssertNumQueries
    ) -> None:
        answers = []
        for number, national_id in (
            (number_of(loan), "482915qx"),
            (number_of(uuid4()), ZOE.national_id),
            (UUID(int=loan.int ^ 1), ZOE.national_id),
        ):
            with django_assert_num_queries(1):
                response = find(number, national_id)
            html = response.content.decode()
            assert NOT_FOUND in html
            typed = html.replace(str(number), "NUMBER").replace(national_id, "ID")
            token = html.split('name="csrfmiddlewaretoken" value="')[1].split('"')[0]
            answers.append((response.status_code, typed.replace(token, "")))
        assert answers[0] == answers[1] == answers[2]
        assert answers[0][0] == 404

    @pytest.mark.parametrize(
        ("number", "national_id", "words"),
        [
            ("", ZOE.national_id, "Enter the number."),
            ("12", ZOE.national_id, "A number has twelve letters and digits"),
            ("\x00" * 12, ZOE.national_id, "A number has twelve letters and digits"),
            (UUID(int=1), "", "Enter the national ID."),
            (UUID(int=1), "12", "six digits and two letters"),
        ],
    )
    def test_says_what_is_mistyped(self, number: object, national_id: str, words: str) -> None:
        response = find(number, national_id)
        assert response.status_code == 422
        assert words in response.content.decode()
        assert NOT_FOUND not in response.content.decode()

    def test_is_for_pages_from_here_alone_and_stored_nowhere(self, loan: UUID) -> None:
        form = {"number": number_of(loan), "national_id": ZOE.national_id}
        assert Client(enforce_csrf_checks=True).post("/find/", form).status_code == 403
        for response in (Client().get("/find/"), Client().get("/find/", form), find("1")):
            assert "no-store" in response["Cache-Control"]
            assert "Location" not in response


class TestTriesInVain:
    @pytest.fixture(autouse=True)
    def _limits(self, settings: Settings) -> None:
        cache.clear()
        settings.LOOKUPS_PER_ADDRESS = Rate(3, 15 * MINUTES)
        settings.LOOKUPS_PER_NUMBER = None

    def test_from_one_address_are_limited_and_others_go_on(
        self, loan: UUID, caplog: pytest.LogCaptureFixture
    ) -> None:
        statuses = [find(number_of(uuid4())).status_code for _ in range(5)]
        assert statuses == [404, 404, 404, 429, 429]
        refused = find(number_of(loan))
        assert refused.status_code == 429
        assert 0 < int(refused["Retry-After"]) <= 15 * MINUTES
        assert "There were too many tries" in refused.content.decode()
        assert ZOE.national_id in refused.content.decode()
        assert find(number_of(loan), address="192.0.2.2").status_code == 302
        [line] = [each for each in caplog.records if each.name == "readmodels.pages.find_page"]
        assert "More than 3 lookups-from in 900 s, the last one from 192.0.2.1" in line.message

    def test_of_one_number_are_limited_from_everywhere_however_it_is_typed(
        self, loan: UUID, settings: Settings
    ) -> None:
        settings.LOOKUPS_PER_ADDRESS, settings.LOOKUPS_PER_NUMBER = None, Rate(2, 15 * MINUTES)
        tries = [
            find(number, f"48291{last}qx", address=f"192.0.2.{last}").status_code
            for last, number in enumerate((number_of(loan), loan, number_of(loan).lower()))
        ]
        assert tries == [404, 404, 429]
        assert find(number_of(loan)).status_code == 429
        assert find(number_of(of_zoe(uuid4()))).status_code == 302

    def test_are_alone_counted(self, loan: UUID) -> None:
        for _ in range(5):
            assert find(number_of(loan)).status_code == 302
            assert find("12").status_code == 422
