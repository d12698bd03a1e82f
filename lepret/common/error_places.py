"""Describes errors for the log, without the values that messages and stack traces may quote."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from lepret.common.input_errors import MOST_ERRORS, shortened

_PROJECT: Final = Path(__file__).resolve().parents[2]


def type_and_place(error: BaseException) -> str:
    """An error's type and place, such as `KeyError at loan_status.py:34`, without personal data.

    The place is the last one in the project's own code. Validation errors also name the fields and
    what is wrong with them: `ValidationError at codec.py:103 (amount: missing)`.
    """
    name = type(error).__qualname__
    stack = traceback.extract_tb(error.__traceback__)
    if not stack:
        return name
    place = next((frame for frame in reversed(stack) if _is_ours(frame)), stack[-1])
    return f"{name} at {Path(place.filename).name}:{place.lineno}{_fields(error)}"


def _is_ours(frame: traceback.FrameSummary) -> bool:
    path = Path(frame.filename)
    return path.is_relative_to(_PROJECT) and "site-packages" not in path.parts


def _fields(error: BaseException) -> str:
    if not isinstance(error, ValidationError):
        return ""
    wrong = error.errors(include_input=False, include_context=False, include_url=False)
    words = [f"{_path(each['loc'])}: {each['type']}" for each in wrong[:MOST_ERRORS]]
    if len(wrong) > MOST_ERRORS:
        words.append(f"and {len(wrong) - MOST_ERRORS} more")
    return f" ({', '.join(words)})"


def _path(location: tuple[int | str, ...]) -> str:
    return ".".join(shortened(str(each)) for each in location) or "data"
