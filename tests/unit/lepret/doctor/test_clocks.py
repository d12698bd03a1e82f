"""How far a clock is off: by no more than is certain, since an answer takes its time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from lepret.doctor import clocks
from lepret.doctor.clocks import agree
from lepret.doctor.report import Trouble


def telling(monkeypatch: pytest.MonkeyPatch, *ask: Callable[[], datetime]) -> None:
    """The clocks that there are."""
    named = [(f"clock {number}", each) for number, each in enumerate(ask)]
    monkeypatch.setattr(clocks, "others", lambda: dict(named))


def ahead_by(seconds: float) -> Callable[[], datetime]:
    return lambda: datetime.now(UTC) + timedelta(seconds=seconds)


def silent() -> datetime:
    raise Trouble("it does not answer")


@pytest.mark.parametrize("seconds", [-4, 0, 4])
def test_a_few_seconds_are_nothing(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    telling(monkeypatch, ahead_by(0), ahead_by(seconds))
    assert agree() == "this machine's agrees with clock 0, clock 1, to 5 s"


@pytest.mark.parametrize(
    ("seconds", "words"), [(3600, "1:00:00 behind"), (-90, "0:01:30 ahead of")]
)
def test_more_is_named_with_its_direction(
    monkeypatch: pytest.MonkeyPatch, seconds: float, words: str
) -> None:
    telling(monkeypatch, ahead_by(0), ahead_by(seconds), silent)
    with pytest.raises(Trouble, match=f"^this machine's is {words} that of clock 1: set"):
        agree()


def test_one_that_is_not_told_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    telling(monkeypatch, ahead_by(0), silent)
    with pytest.raises(Trouble, match=r"^not compared with clock 1, which does not tell the time$"):
        agree()
