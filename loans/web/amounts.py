"""Amounts as people type and paste them: `10,000`, `10 000`, `£ 10,000.00`, `10000 GBP`.

The point is the decimal sign; commas, spaces and apostrophes separate thousands. What can mean one
thing only is taken for that. `10.000` is ten to some people and ten thousand to others.
"""

from __future__ import annotations

import re
import string
import unicodedata
from typing import Final

from babel.numbers import is_currency
from django.conf import settings

from lepret.common.formats import currency_name, currency_symbol, money
from loans.domain.text import cleaned

# Longer than any amount with all its separators, and short enough for int() to be fast.
_LONGEST: Final = 100
_EXAMPLE: Final = 10_000

_APOSTROPHES: Final = "'\u2018\u2019\u02bc"
_MINUS: Final = "[-\u2010\u2011\u2012\u2013\u2212]"
# Each has the whole number in its first group, and then at most zeros after a decimal sign. If
# there are two points, or a point before a comma, the points separate thousands.
_WHOLE_AMOUNTS: Final = (
    re.compile(r"([0-9]+)(?:\.0{0,2})?"),
    re.compile(r"([1-9][0-9]{0,2}(?:,[0-9]{3})+)(?:\.0{0,2})?"),
    re.compile(rf"([1-9][0-9]{{0,2}}(?:[ {_APOSTROPHES}][0-9]{{3}})+)(?:\.0{{0,2}}|,0{{1,2}})?"),
    re.compile(r"([1-9][0-9]{0,2}(?:\.[0-9]{3}){2,})(?:,0{1,2})?"),
    re.compile(r"([1-9][0-9]{0,2}\.[0-9]{3}),0{1,2}"),
)
_NUMBER: Final = re.compile(rf"[0-9][0-9 ,.{_APOSTROPHES}]*")
_NUMBER_WITH_FRACTION: Final = re.compile(rf"{_NUMBER.pattern}[.,][0-9]{{1,2}}")
_WITH_A_CODE: Final = re.compile(
    rf"([A-Za-z]{{3}}) ?{_NUMBER.pattern}|{_NUMBER.pattern}?([A-Za-z]{{3}})"
)


def amount_in(typed: str) -> int | str:
    """The whole amount that was typed. If it is none, then text, for the command to refuse."""
    minus, number = _parts(typed)
    for pattern in _WHOLE_AMOUNTS:
        if found := pattern.fullmatch(number):
            amount = int(re.sub("[^0-9]", "", found[1]))
            return -amount if minus else amount
    return cleaned(typed[:_LONGEST])


def what_is_wrong_with(typed: str) -> str:
    """Why `amount_in` finds no amount in it, and how to write one."""
    _, number = _parts(typed)
    if _NUMBER_WITH_FRACTION.fullmatch(number):
        return f"Whole {currency_name()} only, such as {money(_EXAMPLE)}."
    if _NUMBER.fullmatch(number):
        return f"It is not clear how much this is. Write, for example, {_EXAMPLE:,} or {_EXAMPLE}."
    if _names_other_currency(number):
        return f"An amount is in {currency_name()}, such as {money(_EXAMPLE)}."
    return f"Write a whole number of {currency_name()} in digits, such as {money(_EXAMPLE)}."


def _parts(typed: str) -> tuple[str, str]:
    """The minus, if any, and what is left without the currency."""
    text = cleaned(typed[: _LONGEST + 1])
    sign = "|".join(map(re.escape, _currency_signs()))
    found = re.fullmatch(
        rf"({_MINUS}?) ?(?:{sign})? ?({_MINUS}?)(.*?) ?(?:{sign})?", text, re.IGNORECASE | re.DOTALL
    )
    assert found is not None, "every text matches"
    return found[1] + found[2], found[3] if len(text) <= _LONGEST else ""


def _currency_signs() -> list[str]:
    """The ways to write the currency, the longer ones first: `CAD`, `CA$` and `$`."""
    symbol, code = currency_symbol(), settings.CURRENCY
    bare = symbol.strip(string.ascii_letters) or symbol
    return sorted({symbol, code, bare, f"{code[:2]}{bare}"}, key=len, reverse=True)


def _names_other_currency(text: str) -> bool:
    if any(unicodedata.category(character) == "Sc" for character in text):
        return True
    found = _WITH_A_CODE.fullmatch(text)
    return found is not None and is_currency((found[1] or found[2]).upper())
