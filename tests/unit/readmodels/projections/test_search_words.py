"""The words by which people are found, whatever they and clerks type."""

from __future__ import annotations

import unicodedata
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from readmodels.projections.search_words import folded, words_in, words_of

SPELLINGS = {
    "jose": ("José", "JOSÉ", "Jose", "jose", "Jo\u200bsé", "\u2066José\u2069", "ＪＯＳＥ"),  # noqa: RUF001
    "ohara": ("O'Hara", "O’Hara", "OʼHara", "O`Hara", "O´HARA", "O＇Hara", "o\u2018hara"),  # noqa: RUF001
    "gross": ("Groß", "GROSS", "GROẞ"),
    "lukasz": ("Łukasz", "ŁUKASZ", "łukasz"),
    "osterbaek": ("Østerbæk", "ØSTERBÆK"),
    "isik": ("Işık", "ISIK", "Işik", "İŞIK"),  # noqa: RUF001
    "angstrom": ("Ångström", "Ångström"),
    "νικοσ": ("Νίκος", "ΝΊΚΟΣ"),
    "зинаида": ("Зинаида", "ЗИНАИДА"),
}
Form = Literal["NFC", "NFD"]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize(("fold", "spellings"), SPELLINGS.items(), ids=SPELLINGS)
def test_spellings_of_a_name_fold_into_one(
    fold: str, spellings: tuple[str, ...], form: Form
) -> None:
    expected = unicodedata.normalize("NFKD", fold)
    assert {folded(unicodedata.normalize(form, each)) for each in spellings} == {
        "".join(each for each in expected if not unicodedata.combining(each))
    }


@pytest.mark.parametrize(
    ("name", "typed"),
    [
        ("José O’Hara", "O'Hara"),  # noqa: RUF001
        ("José O’Hara", "hara"),  # noqa: RUF001
        ("José O’Hara", "OHARA jose"),  # noqa: RUF001
        ("Anne-Marie Smith", "anne marie"),
        ("Anne-Marie Smith", "annemarie"),
        ("Anne‐Marie Smith", "Marie"),  # noqa: RUF001
        ("Ludwig van der Meer", "van d"),
        ("李小龙", "小龙"),
        ("김철수", "철수"),
        ("Ann Example", "123456-AA"[:6]),
    ],
)
def test_all_words_that_one_types_are_beginnings_of_words(name: str, typed: str) -> None:
    words = words_of(name, "123456aa")
    assert all(any(word.startswith(begin) for word in words) for begin in words_in(typed))


@given(st.text(), st.text())
def test_any_name_has_some_short_words_that_are_distinct(name: str, national_id: str) -> None:
    words = words_of(name, national_id)
    assert len(words) == len(set(words)) <= 40
    assert all(0 < len(word) <= 50 for word in words)


@given(st.text())
def test_folding_twice_changes_nothing(text: str) -> None:
    once = words_in(text)
    assert words_in(" ".join(once)) == once
