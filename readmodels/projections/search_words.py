"""The words by which loan requests are found, folded so that spellings of a name are one."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import Final

from loans.domain.events import LoanRequested
from readmodels.models import SearchWord
from readmodels.projections.base import Projection
from readmodels.projections.rows import Rows

_LONGEST_WORD: Final = 50
# Nobody's name has as many. Each word is a row, and strangers choose their names.
_MOST_WORDS: Final = 40

# Apostrophes, and what is typed or set in their place.
_APOSTROPHES: Final = "'`´‘’‚‛′‵ʹʻʼʽʾʿˈˊˋ׳＇"  # noqa: RUF001
_WITHOUT_APOSTROPHES: Final = str.maketrans("", "", _APOSTROPHES)
_DIVIDED_BY_APOSTROPHES: Final = str.maketrans(_APOSTROPHES, " " * len(_APOSTROPHES))
# Letters that do not fall into a letter and a mark (Unicode Standard Annex 15).
_LETTERS: Final = str.maketrans(
    {
        "ł": "l", "ø": "o", "đ": "d", "ð": "d", "ħ": "h", "ŧ": "t", "ı": "i", "ĸ": "k", "ŋ": "n",  # noqa: RUF001
        "ƒ": "f", "ɓ": "b", "ɖ": "d", "ɗ": "d", "ƙ": "k", "ɨ": "i", "ə": "e", "æ": "ae", "œ": "oe",
        "þ": "th",
    }
)  # fmt: skip
_WORD: Final = re.compile(r"[^\W_]+")


def folded(text: str) -> str:
    """The text without case, accents, apostrophes, and differences that nobody sees.

    `José`, `JOSÉ` and `Jose` are `jose`, `O'Hara` is `ohara`, `Groß` is `gross`, `Ångström` is
    `angstrom`, and full-width letters are ordinary ones, in all of Unicode's normal forms.
    """
    if text.isascii():  # What follows would take much longer, for the same.
        return text.lower().translate(_WITHOUT_APOSTROPHES)
    text = unicodedata.normalize("NFKD", text.translate(_WITHOUT_APOSTROPHES))
    # Once more, since folding makes marks again: of `İ`, for example.
    text = unicodedata.normalize("NFKD", text.casefold())
    text = "".join(each for each in text if not _is_unseen(each))
    return text.translate(_LETTERS).translate(_WITHOUT_APOSTROPHES)


def _is_unseen(character: str) -> bool:
    """Whether it is a mark on a letter, or a character that nobody sees."""
    category = unicodedata.category(character)
    return category.startswith("M") or category == "Cf"


def words_in(text: str) -> list[str]:
    """What somebody searches for: its words, folded and without what divides them."""
    return list(dict.fromkeys(word[:_LONGEST_WORD] for word in _WORD.findall(folded(text))))


def words_of(name: str, national_id: str) -> list[str]:
    """The words that one may look for to find somebody, each by its beginning."""
    words = dict.fromkeys(["".join(words_in(national_id)), *_words_of_name(name)])
    return [word for word in words if word][:_MOST_WORDS]


def _words_of_name(name: str) -> Iterator[str]:
    for part in unicodedata.normalize("NFC", name).split():
        if part.isascii() and part.isalpha():  # As most are: a word, and no more than one.
            yield part.lower()[:_LONGEST_WORD]
            continue
        # `Anne-Marie` is found as `Annemarie` too, and `O'Hara` as `Hara`.
        yield from words_in(part)
        yield "".join(words_in(part))[:_LONGEST_WORD]
        yield from words_in(part.translate(_DIVIDED_BY_APOSTROPHES))
        yield from _endings(part)


def _endings(part: str) -> Iterator[str]:
    """The word from each of its wide characters on: Chinese, for one, has no spaces in names."""
    for place, character in enumerate(part):
        if place and unicodedata.east_asian_width(character) == "W":
            yield from words_in(part[place:])[:1]


def handle(event: LoanRequested, rows: Rows[SearchWord]) -> None:
    for word in words_of(event.name, event.national_id):
        rows.put((event.id, word))


PROJECTION = Projection(name="search_words", version=1, model=SearchWord, handle=handle)
