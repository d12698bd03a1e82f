"""Pydantic's validation errors in words that fit beside a field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_IN_PLAIN_WORDS: Final = {
    "missing": "This field is required.",
    "extra_forbidden": "There is no such field.",
    "string_type": "This must be text.",
    "string_unicode": "This must be text in Unicode.",
    "tuple_type": "This must be a list.",
    "uuid_type": "This must be a UUID.",
    "uuid_parsing": "This must be a UUID.",
    "uuid_parsing_hex": "This must be a UUID.",
}


# As many errors are shown at most, and as many characters of a name that somebody made up.
MOST_ERRORS: Final = 20
_LONGEST_NAME: Final = 60


def shortened(name: str) -> str:
    """A field's name, which may be a stranger's, in a length and characters fit to be shown."""
    # Half a character (a lone surrogate) can be in JSON, but not in UTF-8.
    text = name[: _LONGEST_NAME + 1].encode(errors="backslashreplace").decode()
    return text if len(text) <= _LONGEST_NAME else f"{text[:_LONGEST_NAME]}…"


def describe(error: Mapping[str, Any]) -> str:
    """One item of `pydantic.ValidationError.errors()`, as a sentence."""
    message: str = _IN_PLAIN_WORDS.get(error["type"], error["msg"])
    return message if message.endswith(".") else f"{message}."
