"""Which passwords are too easy to guess here, besides those that Django refuses.

Together they are to meet OWASP ASVS 5.0, 6.1.2, 6.2.4 and 6.2.11. Django's list of common
passwords has 19,640, but fewer than 200 of at least 12 characters; longer ones are mostly a common
one with something added, or twice, or a row of keys, which zxcvbn sees.
"""

from __future__ import annotations

import re
from typing import Final

from django.conf import settings
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from zxcvbn import zxcvbn

# What somebody tries first who knows what this site is: its names, its parts, its roles. The names
# in ALLOWED_HOSTS count, too. Stems are enough: *underwrit* is in *underwriters*.
SITE_WORDS: Final = (
    "admin",
    "applicant",
    "application",
    "approv",
    "backoffice",
    "bank",
    "bureau",
    "clerk",
    "credit",
    "demo",
    "denied",
    "deny",
    "desk",
    "lepret",
    "loan",
    "login",
    "manager",
    "office",
    "operator",
    "password",
    "staff",
    "superuser",
    "underwrit",
)
_SHORTEST_PART_OF_HOST: Final = 4
# As many characters must be left without these words, digits, and signs.
_LEAST_WITHOUT_WORDS: Final = 8
_LOOKS_LIKE: Final = str.maketrans("013457@$", "oieastas")

# On zxcvbn's scale of 0 to 4: its authors call 3 safe against somebody who has stolen the hashes.
_LEAST_SCORE: Final = 3
# It takes seconds for some long passwords. Whoever types more than this need not be guessed at.
_LOOKED_AT: Final = 32


class SiteWordsValidator:
    """Refuses passwords that are little more than words of this site."""

    def validate(self, password: str, user: User | None = None) -> None:
        """Check a new password.

        Raises:
            ValidationError: it is mainly such words.
        """
        letters = _letters_of(password)
        rest = re.sub("|".join(map(re.escape, _site_words())), "", letters)
        if len(rest) < min(_LEAST_WITHOUT_WORDS, len(letters)):
            raise ValidationError(
                "This is little more than words of this site, such as its name.", "site_words"
            )

    def get_help_text(self) -> str:
        return "Your password must not be mainly words of this site, such as its name."


def _letters_of(text: str) -> str:
    folded = text.casefold().translate(_LOOKS_LIKE)
    return "".join(character for character in folded if character.isalpha())


def _site_words() -> list[str]:
    parts = re.findall(r"[^\W_]+", " ".join(settings.ALLOWED_HOSTS))
    hosts = {_letters_of(part) for part in parts if len(part) >= _SHORTEST_PART_OF_HOST}
    # The longest first, so that no shorter one breaks it up.
    return sorted({*SITE_WORDS, *hosts} - {""}, key=len, reverse=True)


class GuessableValidator:
    """Refuses passwords that zxcvbn would guess soon: common ones also with something added."""

    def validate(self, password: str, user: User | None = None) -> None:
        """Check a new password.

        Raises:
            ValidationError: it is easy to guess.
        """
        known = [*_site_words(), *([] if user is None else [user.get_username()])]
        if zxcvbn(password[:_LOOKED_AT], user_inputs=known)["score"] < _LEAST_SCORE:
            raise ValidationError(
                "This is easy to guess: a well-known password or word with little added, a row of "
                "keys, or something repeated.",
                "guessable",
            )

    def get_help_text(self) -> str:
        return "Your password must not be easy to guess."
