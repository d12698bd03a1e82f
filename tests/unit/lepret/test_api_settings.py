"""What an operator can say of the API in the environment, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from lepret.environment import Environment, Rate


@pytest.mark.parametrize(
    ("value", "rate"),
    [
        ("", Rate(600, 60)),
        ("none", None),
        ("10/s", Rate(10, 1)),
        ("5/10sec", Rate(5, 10)),
        ("600/min", Rate(600, 60)),
        ("1/hour", Rate(1, 3600)),
        ("100000/2day", Rate(100_000, 172_800)),
    ],
)
def test_a_rate_is_so_many_calls_in_so_much_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, value: str, rate: Rate | None
) -> None:
    monkeypatch.setenv("API_RATE", value)
    assert Environment.read(tmp_path).api_rate == rate


def test_without_a_token_there_is_no_limit_and_no_proxy_unless_one_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert Environment.read(tmp_path).api_anonymous_rate is None
    assert Environment.read(tmp_path).api_proxies == 0
    monkeypatch.setenv("API_ANONYMOUS_RATE", "10/min")
    monkeypatch.setenv("API_PROXIES", "2")
    assert Environment.read(tmp_path).api_anonymous_rate == Rate(10, 60)
    assert Environment.read(tmp_path).api_proxies == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("API_RATE", "many"),
        ("API_RATE", "0/min"),
        ("API_RATE", "10"),
        ("API_RATE", "10/week"),
        ("API_RATE", "-1/min"),
        ("API_RATE", "10/0s"),
        ("API_ANONYMOUS_RATE", "1.5/s"),
        ("API_PROXIES", "-1"),
        ("API_PROXIES", "two"),
        ("API_PROXIES", "100"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ImproperlyConfigured, match=f"^{name} must be"):
        Environment.read(tmp_path)
