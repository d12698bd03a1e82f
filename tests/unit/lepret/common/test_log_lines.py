from __future__ import annotations

import logging

import pytest

from lepret.common.log_lines import LineFormatter

FORMATTER = LineFormatter("%(asctime)s %(levelname)s %(name)s %(message)s")


def record(message: str, *args: object, error: BaseException | None = None) -> logging.LogRecord:
    exc_info = None if error is None else (type(error), error, error.__traceback__)
    made = logging.LogRecord("lepret", logging.INFO, __file__, 1, message, args, exc_info)
    made.created, made.msecs = 1_700_000_000.25, 250.0
    return made


def test_times_are_in_utc_and_say_so() -> None:
    assert FORMATTER.format(record("hello")) == "2023-11-14T22:13:20.250Z INFO lepret hello"


@pytest.mark.parametrize(
    "end", ["\n", "\r", "\r\n", "\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"]
)
def test_nothing_that_a_caller_sends_begins_a_line(end: str) -> None:
    line = FORMATTER.format(record("Not Found: %s", f"/x{end}2026-01-01 INFO forged"))
    assert line.splitlines() == [line]


def test_terminals_are_not_steered() -> None:
    line = FORMATTER.format(record("%s", "\x1b[2J\x9b0m\u202egpj"))
    assert line.endswith(r"\x1b[2J\x9b0m\u202egpj")


def test_a_stack_trace_keeps_its_lines_and_escapes_the_rest() -> None:
    try:
        int("a\rb\x1b")
    except ValueError as error:
        text = FORMATTER.format(record("failed", error=error))
    assert text.splitlines()[1] == "Traceback (most recent call last):"
    assert text.splitlines()[-1].startswith("ValueError: invalid literal for int()")
    assert "\x1b" not in text
