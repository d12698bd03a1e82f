"""Input that must be rejected, with the field that it is in.

The commands, the form, the validation while typing, and the JSON API are all tested with it.
"""

from __future__ import annotations

from typing import Any, Final

GOOD: Final[dict[str, Any]] = {
    "name": "Ann Example",
    "national_id": "123456aa",
    "amount": 5000,
    "address": "1 High Street",
}

BAD_TEXT: Final[dict[str, tuple[str, str]]] = {
    "digits of another script": ("national_id", "１２３４５６aa"),  # noqa: RUF001
    "a trailing newline": ("national_id", "123456aa\n"),
    "a trailing space": ("national_id", "123456aa "),
    "one letter": ("national_id", "123456a"),
    "seven digits": ("national_id", "1234567aa"),
    "Cyrillic letters": ("national_id", "123456аа"),  # noqa: RUF001
    "an accented letter": ("national_id", "123456aé"),
    "no national ID": ("national_id", ""),
    "a name of one letter": ("name", "A"),
    "a name of spaces": ("name", "     "),
    "one letter and spaces": ("name", "   A   "),
    "no name": ("name", ""),
    "a name with NUL": ("name", "Ann\x00Example"),
    "a name with a newline": ("name", "Ann\nExample"),
    "a name that turns the text around": ("name", "Ann\u202eelpmaxE"),
    "a name of 201 characters": ("name", "A" * 201),
    "an address of 50,000 letters": ("address", "A" * 50_000),
    "an address with NUL": ("address", "High\x00Street"),
}

# As text, as forms send it.
BAD_AMOUNTS_TYPED: Final[dict[str, str]] = {
    "zero": "0",
    "negative": "-1",
    "a fraction": "1.5",
    "an exponent": "1e3",
    "a truth value": "true",
    "too high": str(10**10),
    "very many digits": "9" * 5000,
    "digits of another script": "１２３",  # noqa: RUF001
    "an underscore": "1_000",
    "a sign": "+5",
    "nothing": "",
    "spaces": "   ",
}

BAD_AMOUNTS_IN_JSON: Final[dict[str, Any]] = {
    "zero": 0,
    "negative": -1,
    "a fraction": 1.5,
    "a float that is whole": 1000.0,
    "text": "1000",
    "true": True,
    "too high": 10**10,
    "far too high": 10**400,
    "null": None,
    "a list": [5000],
}
