"""Each service gets a line, whatever happens in its check, and none waits for another."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from lepret.doctor import report
from lepret.doctor.report import Line, Trouble, examine


def fine() -> str:
    return "it works"


def in_trouble() -> str:
    raise Trouble("it does not: start it")


def unforeseen() -> str:
    raise ZeroDivisionError("redis://:hidden@host")


@pytest.fixture
def is_over(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """What ends a check that hangs. Nobody waits for it for long."""
    monkeypatch.setattr(report, "SECONDS", 2.0)
    event = threading.Event()
    yield event
    event.set()


def test_a_line_says_what_was_found_or_what_is_wrong() -> None:
    assert list(examine({"one": fine, "other": in_trouble})) == [
        Line("one", is_fine=True, found="it works"),
        Line("other", is_fine=False, found="it does not: start it"),
    ]


def test_of_an_error_that_nobody_has_foreseen_only_the_kind_is_said() -> None:
    [line] = examine({"it": unforeseen})
    assert not line.is_fine
    assert "ZeroDivisionError" in line.found
    assert "hidden" not in str(line)


def test_one_that_hangs_holds_up_no_other(is_over: threading.Event) -> None:
    def hanging() -> str:
        is_over.wait()
        return "too late"

    hang = {f"it hangs {number}": hanging for number in range(10)}
    began = time.monotonic()
    works, *others = examine({"it works": fine, **hang})
    assert time.monotonic() - began < len(hang) * report.SECONDS, "all are waited for at once"
    assert works == Line("it works", is_fine=True, found="it works")
    assert [each.is_fine for each in others] == [False] * len(hang)
    assert "no answer in 2 s" in others[0].found
