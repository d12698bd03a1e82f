"""Types for argparse: each turns an option's text into a value, or says why it cannot."""

from __future__ import annotations

import math
from argparse import ArgumentTypeError
from collections.abc import Callable
from typing import Final

HIGHEST_PORT: Final = 65_535


def whole_number(text: str) -> int:
    """A whole number from 1 up.

    Raises:
        argparse.ArgumentTypeError: the text is not one.
    """
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise ArgumentTypeError(f"{text!r} is not a whole number from 1 up")
    return number


def number_in(text: str) -> float:
    """The text as a number, or NaN, which is within no bounds, if it is not a number."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def port_from(lowest: int) -> Callable[[str], int]:
    """A type for port numbers from `lowest` up, in digits only."""

    def port(text: str) -> int:
        if text.isascii() and text.isdigit() and lowest <= int(text) <= HIGHEST_PORT:
            return int(text)
        bounds = f"those are numbers from {lowest} to {HIGHEST_PORT}"
        raise ArgumentTypeError(f"{text!r} is not a port; {bounds}")

    return port
