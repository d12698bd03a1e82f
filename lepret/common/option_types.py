"""Values of commands' options: what argparse's `type` takes, with messages in plain words."""

from __future__ import annotations

import math
from argparse import ArgumentTypeError
from collections.abc import Callable
from typing import Final

HIGHEST_PORT: Final = 65_535


def whole_number(text: str) -> int:
    """A whole number from 1 up.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise ArgumentTypeError(f"{text!r} is not a whole number from 1 up")
    return number


def number_in(text: str) -> float:
    """The number that a text is; where it is none, NaN, which lies between no two bounds."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def port_from(lowest: int) -> Callable[[str], int]:
    """A type: a port's number, digits only."""

    def port(text: str) -> int:
        if text.isascii() and text.isdigit() and lowest <= int(text) <= HIGHEST_PORT:
            return int(text)
        bounds = f"those are numbers from {lowest} to {HIGHEST_PORT}"
        raise ArgumentTypeError(f"{text!r} is not a port; {bounds}")

    return port
