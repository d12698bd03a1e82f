"""Input that must be rejected, with the field that it is in, and input that is tidied.

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
    "a point in it": ("national_id", "123456.aa"),
    "a national ID of hyphens": ("national_id", "\u2010-\u2212"),
    "a national ID that is very long": ("national_id", "-" * 200 + "123456aa"),
    "one letter": ("national_id", "123456a"),
    "seven digits": ("national_id", "1234567aa"),
    "Cyrillic letters": ("national_id", "123456аа"),  # noqa: RUF001
    "an accented letter": ("national_id", "123456aé"),
    "no national ID": ("national_id", ""),
    "a name of spaces": ("name", "     "),
    "a name of fillers": ("name", "\u3164\u115f\u1160\uffa0"),
    "a name of Braille without dots": ("name", "\u2800\u2800"),
    "a name of zero-width characters": ("name", "\u200b\u200c\u200d\u2060\ufeff"),
    "a name of tags": ("name", "\U000e0041\U000e006e"),
    "a name of variation selectors": ("name", "\ufe0f\U000e0100"),
    "a name of an accent": ("name", "\u0301"),
    "an accent before the name": ("name", "\u0301Ann"),
    "an accent on a space": ("name", "Ann \u0308Example"),
    "a stack of accents": ("name", "A" + "\u0316\u0317\u0318\u0319\u031c" + "nn"),
    "a stack of Thai vowels": ("name", "\u0e01" + "\u0e47" * 20),
    "a private-use character": ("name", "Ann \ue000"),
    "an unassigned character": ("name", "Ann \u0378"),
    "a non-character": ("name", "Ann \uffff"),
    "an annotation": ("name", "Ann\ufff9Example"),
    "a line separator": ("name", "Ann\u2028Example"),
    "a name of digits": ("name", "12345"),
    "a name of punctuation": ("name", "-.'"),
    "a name of an emoji": ("name", "\U0001f600"),
    "no name": ("name", ""),
    "a name with NUL": ("name", "Ann\x00Example"),
    "a name with a newline": ("name", "Ann\nExample"),
    "a name that turns the text around": ("name", "Ann\u202eelpmaxE"),
    "a name of 201 characters": ("name", "A" * 201),
    "an address of 50,000 letters": ("address", "A" * 50_000),
    "a name of 64,000 letters": ("name", "A" * 64_000),
    "an address with NUL": ("address", "High\x00Street"),
    "an address with a stack of accents": ("address", "High Street" + "\u0301" * 9),
    "an address that begins with an accent": ("address", "\u0301 1 High Street"),
    "an address in private characters": ("address", "\ue000\uf8ff"),
}

# How they are sent, and what they are.
PASTED: Final[dict[str, tuple[str, str, str]]] = {
    "a space behind": ("national_id", "851458fn ", "851458fn"),
    "a tab before": ("national_id", "\t851458fn", "851458fn"),
    "no-break spaces": ("national_id", "851\u00a0458\u00a0fn", "851458fn"),
    "thin spaces": ("national_id", "851\u2009458\u202ffn", "851458fn"),
    "a hyphen": ("national_id", "851458-fn", "851458fn"),
    "dashes": ("national_id", "851\u2010458\u2011f\u2013n\u2212", "851458fn"),
    "zero-width characters": ("national_id", "\ufeff851\u200b458\u2060fn", "851458fn"),
    "direction marks": ("national_id", "\u202d851458FN\u202c\u200e", "851458fn"),
    "a soft hyphen": ("national_id", "851458\u00adfn", "851458fn"),
    "a name of one letter": ("name", "O", "O"),
    "a name of one ideograph": ("name", " \u674e ", "\u674e"),
    "a decomposed name": ("name", "Jose\u0301", "Jos\u00e9"),
    "a direction mark around it": ("name", "\u200fAnn Example\u200e", "Ann Example"),
    "isolated": ("name", "\u2068Ann Example\u2069", "Ann Example"),
    "an Arabic mark": ("name", "\u061c\u0645\u0631\u064a\u0645", "\u0645\u0631\u064a\u0645"),
    "a soft hyphen in a name": ("name", "Exam\u00adple", "Example"),
    "spaces of all kinds": ("name", "Ann\u00a0 \t\u3000Example", "Ann Example"),
    "a Persian name": (
        "name",
        "\u0639\u0644\u06cc\u200c\u0631\u0636\u0627",
        "\u0639\u0644\u06cc\u200c\u0631\u0636\u0627",
    ),
    "a joiner that joins nothing": ("name", "A\u200dnn\u200c", "Ann"),
    "a Burmese name": ("name", "\u101b\u103d\u103e\u1036\u1037", "\u101b\u103d\u103e\u1036\u1037"),
    "a Malayalam name": (
        "name",
        "\u0d30\u0d3e\u0d1c\u0d28\u0d4d\u200d",
        "\u0d30\u0d3e\u0d1c\u0d28\u0d4d\u200d",
    ),
    "lines": ("address", " 1\u00a0High Street\r\nTown\u200b ", "1 High Street\nTown"),
    "an invisible address": ("address", "\u3164\u2800\u200b\n\u2060", ""),
}

AMOUNTS_TYPED: Final[dict[str, int]] = {
    "10,000": 10_000,
    "10 000": 10_000,
    "10\u00a0000": 10_000,
    "10\u202f000": 10_000,
    "10'000": 10_000,
    "10\u2019000": 10_000,
    "10000.00": 10_000,
    "10000.": 10_000,
    "10,000.00": 10_000,
    "10.000,00": 10_000,
    "10 000,00": 10_000,
    "£10000": 10_000,
    "£ 10,000": 10_000,
    "10,000 £": 10_000,
    "10000 GBP": 10_000,
    "gbp 10'000.0": 10_000,
    "£10,000 GBP": 10_000,
    "1.000.000": 1_000_000,
    "1,000,000": 1_000_000,
    " 10000\t": 10_000,
    "\u200e10,000\u200b": 10_000,
    "007": 7,
}

# As text, as forms send it.
BAD_AMOUNTS_TYPED: Final[dict[str, str]] = {
    "zero": "0",
    "negative": "-1",
    "a negative amount of money": "-£1,000",
    "a fraction": "1.5",
    "an exponent": "1e3",
    "a truth value": "true",
    "too high": str(10**10),
    "very many digits": "9" * 5000,
    "digits of another script": "１２３",  # noqa: RUF001
    "ten or ten thousand": "10.000",
    "a comma for a point": "10,00",
    "a half": "1,5",
    "ten and a half": "10.50",
    "a comma too late": "1,0000",
    "half a thousand": "0,500",
    "an abbreviation": "10k",
    "another currency's sign": "$10000",
    "another currency's code": "10000 EUR",
    "a sign alone": "£",
    "words": "ten thousand",
    "brackets": "(5)",
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
