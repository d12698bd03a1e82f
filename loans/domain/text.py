"""Text as people type and paste it, and what is kept of it.

Characters that nobody sees are taken out, so that what is stored is what is shown. What everybody
would see differently, or as nothing, is for the caller to refuse. Which characters there are is as
new as Python's `unicodedata`.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

# As many accents, or other marks that take no room of their own, fit on a letter: Burmese has four.
MOST_MARKS: Final = 4

# What Unicode calls Default_Ignorable_Code_Point (DerivedCoreProperties.txt), except for joiners,
# and for U+202E: without it a text would read the other way round.
_INVISIBLE: Final = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f\u202a-\u202d"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
# The spaces of all scripts, the tab, and signs that are drawn as nothing: a pattern of Braille
# without dots, a note without a head, and hieroglyphs that are left out.
_SPACE: Final = re.compile(
    "[\t \u00a0\u1680\u2000-\u200a\u202f\u205f\u3000\u2800\U0001d159\U00013441\U00013442]"
)
_JOINER: Final = re.compile("[\u200c\u200d]")
# From Arabic to Burmese, and from Khmer to Mongolian.
_SCRIPT_WITH_JOINERS: Final = re.compile("[\u0600-\u109f\u1780-\u18af]")
_VIRAMA: Final = 9  # Its combining class. It takes a letter's vowel away, also at a word's end.
_UNPRINTABLE: Final = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})
_DASHES_BUT_PD: Final = "\u2043\u2212"


def cleaned(text: str) -> str:
    """`text` in NFC with plain spaces, without those around it and without invisible characters.

    Joiners stay where Persian or Indic spelling may need them. To clean it again changes nothing.
    """
    clean = _cleaned_once(text)
    # NFC orders marks anew, which can leave a joiner where none is needed.
    is_stable = _cleaned_once(clean) == clean
    return clean if is_stable else _cleaned_once(_JOINER.sub("", clean))


def without_separators(text: str) -> str:
    """`text` without spaces, tabs, hyphens and dashes, and invisible characters."""
    return "".join(character for character in text if not _is_separator(character))


def is_printable(text: str) -> bool:
    """Whether it has only characters that have a meaning and are shown, and no line breaks."""
    return not any(
        unicodedata.category(character) in _UNPRINTABLE for character in _JOINER.sub("", text)
    )


def has_letter(text: str) -> bool:
    """Whether it has a letter, of any script."""
    return any(unicodedata.category(character).startswith("L") for character in text)


def has_odd_marks(text: str) -> bool:
    """Whether an accent or another mark stands on nothing, or too many on one letter."""
    base, marks = " ", 0
    for character in _JOINER.sub("", text):
        category = unicodedata.category(character)
        if not category.startswith("M"):
            base, marks = character, 0
            continue
        marks += category != "Mc"  # Those take room of their own.
        if base.isspace() or marks > MOST_MARKS:
            return True
    return False


def _cleaned_once(text: str) -> str:
    visible = unicodedata.normalize("NFC", _INVISIBLE.sub("", text))
    spaced = _SPACE.sub(" ", _JOINER.sub(_joiner_if_needed, visible)).strip()
    return unicodedata.normalize("NFC", spaced)


def _joiner_if_needed(found: re.Match[str]) -> str:
    """Roughly as RFC 5892, appendix A: between letters, or after a virama."""
    text, start, end = found.string, found.start(), found.end()
    before, after = text[max(start - 1, 0) : start], text[end : end + 1]
    is_needed = _joins(before) and (_joins(after) or unicodedata.combining(before) == _VIRAMA)
    return found[0] if is_needed else ""


def _joins(character: str) -> bool:
    return (
        bool(_SCRIPT_WITH_JOINERS.match(character)) and unicodedata.category(character)[0] in "LM"
    )


def _is_separator(character: str) -> bool:
    return (
        bool(_SPACE.match(character) or _INVISIBLE.match(character) or _JOINER.match(character))
        or unicodedata.category(character) in ("Cf", "Pd")
        or character in _DASHES_BUT_PD
    )
