"""Pydantic's validation errors in words that fit beside a field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_IN_PLAIN_WORDS: Final = {
    "missing": "This field is required.",
    "extra_forbidden": "There is no such field.",
    "string_type": "This must be text.",
    "string_unicode": "This must be text in Unicode.",
    "uuid_type": "This must be a UUID.",
    "uuid_parsing": "This must be a UUID.",
    "uuid_parsing_hex": "This must be a UUID.",
}


def describe(error: Mapping[str, Any]) -> str:
    """One item of `pydantic.ValidationError.errors()`, as a sentence."""
    message: str = _IN_PLAIN_WORDS.get(error["type"], error["msg"])
    return message if message.endswith(".") else f"{message}."
