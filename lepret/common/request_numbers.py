"""The number of a loan request that people read out and type: the beginning of its id.

Twelve characters of Crockford's base 32 (https://www.crockford.com/base32.html) hold the first 60
of the id's 128 bits, of which 56 are random in a random UUID (version 4). That is enough to find a
request together with a national ID, and few enough to be read out; and the ids with a number
are a range, so that an index of ids finds them.
"""

from __future__ import annotations

import unicodedata
from typing import Final
from uuid import UUID

EXAMPLE: Final = "7ZKQ-4M3T-90XB"

_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_BITS: Final = 5
_LENGTH: Final = 12
_REST: Final = 128 - _LENGTH * _BITS
_LONGEST_TYPED: Final = 100
# Letters that the alphabet lacks since they look like digits.
_LOOKALIKES: Final = str.maketrans("OIL", "011")


class NoNumber(ValueError):
    """The text is no number of a request."""


def number_of(loan_request_id: UUID) -> str:
    """The number of a request, in groups of four."""
    bits = loan_request_id.int >> _REST
    shifts = range((_LENGTH - 1) * _BITS, -1, -_BITS)
    characters = "".join(_ALPHABET[bits >> shift & 31] for shift in shifts)
    return "-".join(characters[start : start + 4] for start in range(0, _LENGTH, 4))


def ids_with(typed: str) -> tuple[UUID, UUID]:
    """The first and the last id with the number that somebody typed; a whole id is one, too.

    Spaces, hyphens and case do not matter, nor does O in place of 0, or I or L in place of 1.

    Raises:
        NoNumber: it is no number.
    """
    text = unicodedata.normalize("NFKC", typed[:_LONGEST_TYPED]).upper()
    characters = "".join(filter(str.isalnum, text))
    if len(characters) == len(UUID(int=0).hex):
        return _only(characters)
    characters = characters.translate(_LOOKALIKES)
    if len(characters) != _LENGTH or not set(characters) <= set(_ALPHABET):
        raise NoNumber
    bits = int("".join(f"{_ALPHABET.index(each):05b}" for each in characters), 2)
    return UUID(int=bits << _REST), UUID(int=(bits + 1 << _REST) - 1)


def _only(hexadecimal: str) -> tuple[UUID, UUID]:
    try:
        return UUID(hexadecimal), UUID(hexadecimal)
    except ValueError:
        raise NoNumber from None
