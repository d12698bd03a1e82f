"""A lending policy as a file that people write and programs read: JSON, all of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import pydantic

from lepret.common.input_errors import MOST_ERRORS, describe, shortened
from loans.domain.policy import Policy

LARGEST_FILE: Final = 1_000_000
"""In bytes. A policy with the longest words for all of its codes is smaller."""


class NoPolicy(Exception):
    """The file holds no policy; `problems` says why, a line for each wrong field."""

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def as_json(policy: Policy) -> str:
    """The policy as `policy_in` reads it."""
    return policy.model_dump_json(indent=2)


def policy_in(content: bytes) -> Policy:
    """The policy in a file's content. What the file leaves out is as in version 0.

    Raises:
        NoPolicy: it is too large or no JSON, or has fields that are wrong or unknown.
    """
    if len(content) > LARGEST_FILE:
        raise NoPolicy(f"it is larger than {LARGEST_FILE:,} bytes")
    try:
        return Policy.model_validate_json(content, extra="forbid")
    except pydantic.ValidationError as invalid:
        raise NoPolicy(*_problems(invalid)) from None


def describe_field(error: Mapping[str, Any]) -> str:
    """What is wrong with a field of a policy: an item of `pydantic.ValidationError.errors()`."""
    if error["type"] == "string_pattern_mismatch":
        return _BAD_CODE if "[key]" in error["loc"] else "Write three capital letters."
    words = _IN_WORDS.get(error["type"])
    return describe(error) if words is None else words.format(**error.get("ctx", {}))


_BAD_CODE: Final = "A code has letters, digits and . _ - only, and begins with a letter or digit."
_IN_WORDS: Final = {
    "int_type": "Write a whole number.",
    "greater_than_equal": "At least {ge}.",
    "less_than_equal": "At most {le}.",
    "too_short": "This field is required.",
}


def _problems(invalid: pydantic.ValidationError) -> list[str]:
    wrong = invalid.errors(include_input=False, include_url=False)
    problems = [
        ": ".join(filter(None, (_place(each["loc"]), describe_field(each)))) for each in wrong
    ]
    if len(wrong) > MOST_ERRORS:
        return [*problems[:MOST_ERRORS], f"and {len(wrong) - MOST_ERRORS} more"]
    return problems


def _place(location: tuple[int | str, ...]) -> str:
    return ".".join(shortened(str(each)) for each in location if each != "[key]")
