"""Says what went wrong and where, without the values that a message or a stack trace may quote."""

from __future__ import annotations

import traceback
from pathlib import Path


def type_and_place(error: BaseException) -> str:
    """Such as `KeyError at loan_status.py:34`: enough to find it, and nobody's data."""
    name = type(error).__qualname__
    stack = traceback.extract_tb(error.__traceback__)
    if not stack:
        return name
    return f"{name} at {Path(stack[-1].filename).name}:{stack[-1].lineno}"
