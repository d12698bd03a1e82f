"""The numbers of requests that people read out and type."""

from __future__ import annotations

import re
from uuid import UUID

import pytest
from hypothesis import given, strategies

from lepret.common.request_numbers import EXAMPLE, NoNumber, ids_with, number_of

ID = UUID("b9e84a3c-7a5c-4d7d-9d0f-2f6d7a1c5e11")
FIRST, LAST = (
    UUID("b9e84a3c-7a5c-4d70-0000-" + "0" * 12),
    UUID("b9e84a3c-7a5c-4d7f-ffff-" + "f" * 12),
)


def test_a_number_is_three_groups_without_letters_that_look_like_digits() -> None:
    assert number_of(ID) == "Q7M4-MF3T-BH6Q"
    assert number_of(UUID(int=0)) == "0000-0000-0000"
    assert number_of(UUID(int=2**128 - 1)) == "ZZZZ-ZZZZ-ZZZZ"


@given(strategies.uuids())
def test_a_number_leads_to_its_id_and_to_no_other_number(loan_request_id: UUID) -> None:
    number = number_of(loan_request_id)
    assert re.fullmatch("([0-9A-HJKMNP-TV-Z]{4}-){2}[0-9A-HJKMNP-TV-Z]{4}", number)
    first, last = ids_with(number)
    assert first <= loan_request_id <= last
    assert (number_of(first), number_of(last)) == (number, number)
    assert last.int - first.int == 2**68 - 1


@pytest.mark.parametrize(
    "typed",
    [
        "Q7M4-MF3T-BH6Q",
        "q7m4mf3tbh6q",
        " Q7M4 MF3T BH6Q\t\n",
        "Q7M4\N{NON-BREAKING HYPHEN}MF3T\N{EN DASH}BH6Q\N{NO-BREAK SPACE}",
        "Q 7 M 4 - M F 3 T - B H 6 Q.",
        "\N{ZERO WIDTH SPACE}Q7M4-MF3T-BH6Q\N{LEFT-TO-RIGHT MARK}",
        "Ｑ７Ｍ４ＭＦ３ＴＢＨ６Ｑ",  # noqa: RUF001 (full-width)
    ],
)
def test_however_it_is_typed_it_is_the_same_number(typed: str) -> None:
    assert ids_with(typed) == (FIRST, LAST)


def test_letters_are_taken_for_the_digits_that_they_look_like() -> None:
    assert ids_with("oO0i-IlL1-0000") == ids_with("0001-1111-0000")


@pytest.mark.parametrize("typed", [str(ID), ID.hex.upper(), f"{{{ID}}} "])
def test_a_whole_id_is_taken_too(typed: str) -> None:
    assert ids_with(typed) == (ID, ID)


@pytest.mark.parametrize(
    "typed",
    [
        *("", "-", "Q7M4-MF3T-BH6", "Q7M4-MF3T-BH6QQ", "U7M4-MF3T-BH6Q", "Q7M4-MF3T-BH6é"),
        *("\N{ARABIC-INDIC DIGIT ZERO}" * 12, "ж" * 12, "x" * 32, "0" * 10_000, "\x00" * 12),
    ],
)
def test_what_is_no_number_is_refused(typed: str) -> None:
    with pytest.raises(NoNumber):
        ids_with(typed)


def test_the_example_is_a_number() -> None:
    assert number_of(ids_with(EXAMPLE)[0]) == EXAMPLE
