"""What `manage.py check --deploy` warns of."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.core.checks import run_checks
from django.db import connection
from pytest_django import Settings

from lepret.demo.ownership import mark
from lepret.environment import Environment

# From `openssl rand -hex`.
PASSWORD = "52edb4d801e99bd44c43072f64f0bccd"
GOOD = {
    "LEPRET_HMAC_KEY": "7481d1255a6333824780d3c43fe0676c7e3678612c215fca38a28f02cea3d30c",
    "DJANGO_SECRET_KEY": "0905e4588152a9ce1d90cd1da2a57d558ef698333ac3898df6d1dea90795f726bfc31f",
    "DJANGO_ALLOWED_HOSTS": "loans.example.com,.loans.example",
    "EVENTSTORE_URI": f"esdb://lepret:{PASSWORD}@events:2113",
    "DATABASE_URL": f"postgresql://lepret:{PASSWORD}@db/lepret?sslmode=verify-full",
    "REDIS_URL": f"rediss://:{PASSWORD}@valkey:6379/0",
    "CREDIT_BUREAU_URL": "https://bureau.example",
    "WEB_PROXIES": "1",
    "DJANGO_HTTPS": "true",
    "CONTACT": "loans@example.com",
    "PRIVACY_NOTICE_PATH": __file__,
}
# Services of this machine need neither passwords nor TLS.
HERE = {
    "EVENTSTORE_URI": "esdb://127.0.0.1:2113?tls=false",
    "DATABASE_URL": "postgresql:///lepret?host=/run/postgresql",
    "REDIS_URL": "unix:///run/valkey.sock",
    "CREDIT_BUREAU_URL": "http://localhost:8100",
}


@pytest.fixture
def warnings(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Warnings:
    return Warnings(settings, tmp_path, monkeypatch)


class Warnings:
    """The ids of this project's warnings about an environment that is good but for changes."""

    def __init__(self, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._settings, self._tmp_path, self._monkeypatch = settings, tmp_path, monkeypatch

    def about(self, changes: dict[str, str]) -> set[str]:
        for name, value in {**GOOD, **changes}.items():
            self._monkeypatch.setenv(name, value)
        self._settings.ENVIRONMENT = Environment.read(self._tmp_path)
        found = run_checks(tags=["security"], include_deployment_checks=True)
        ours = [each for each in found if str(each.id).startswith("lepret.")]
        assert all(each.hint for each in ours)
        # A warning does not quote what it warns of, which may be secret.
        for value in changes.values():
            assert len(value) < 8 or value not in str(ours)
        return {str(each.id).removeprefix("lepret.") for each in ours}


@pytest.mark.parametrize("changes", [{}, HERE], ids=["elsewhere", "here"])
def test_nothing_is_wrong_with_good_settings(warnings: Warnings, changes: dict[str, str]) -> None:
    assert warnings.about(changes) == set()


@pytest.mark.parametrize(
    ("number", "name", "value"),
    [
        ("W001", "LEPRET_HMAC_KEY", ""),
        ("W002", "LEPRET_HMAC_KEY", PASSWORD[:30]),
        ("W002", "LEPRET_HMAC_KEY", "a" * 64),
        ("W002", "LEPRET_HMAC_KEY", "ab" * 32),
        ("W002", "LEPRET_HMAC_KEY", "7f3k9q2m5x8c1v6b4n0z" * 3),
        ("W002", "LEPRET_HMAC_KEY", "changeme-" + "0918273645qpwoeirutyalskdjfhg"),
        ("W002", "LEPRET_HMAC_KEY", "django-insecure-" + PASSWORD),
        ("W002", "LEPRET_HMAC_KEY", "abcdefghijklmnopqrstuvwxyz0123456789"),
        ("W002", "LEPRET_HMAC_KEY", "my-very-long-lepret-password-in-production"),
        ("W003", "LEPRET_HMAC_KEY", GOOD["DJANGO_SECRET_KEY"]),
        ("W003", "LEPRET_HMAC_KEY", GOOD["DJANGO_SECRET_KEY"][:50]),
        ("W004", "DJANGO_ALLOWED_HOSTS", "*"),
        ("W004", "DJANGO_ALLOWED_HOSTS", "loans.example.com,*"),
        ("W004", "DJANGO_ALLOWED_HOSTS", "*.example.com"),
        ("W004", "DJANGO_ALLOWED_HOSTS", ".com"),
        ("W004", "DJANGO_ALLOWED_HOSTS", "."),
        ("W005", "CREDIT_BUREAU_URL", ""),
        ("W006", "CREDIT_BUREAU_URL", "http://bureau.example"),
        ("W007", "EVENTSTORE_URI", GOOD["EVENTSTORE_URI"] + "?Tls=False"),
        ("W007", "EVENTSTORE_URI", GOOD["EVENTSTORE_URI"] + ",other:2113?tls=false"),
        ("W007", "REDIS_URL", GOOD["REDIS_URL"].replace("rediss", "redis")),
        ("W007", "DATABASE_URL", GOOD["DATABASE_URL"].partition("?")[0]),
        ("W007", "DATABASE_URL", GOOD["DATABASE_URL"].replace("verify-full", "prefer")),
        ("W007", "READMODELS_DATABASE_URL", GOOD["DATABASE_URL"].partition("?")[0]),
        ("W008", "EVENTSTORE_URI", "esdb://admin:changeit@events:2113"),
        ("W008", "EVENTSTORE_URI", "esdb://events:2113"),
        ("W008", "DATABASE_URL", "postgresql://lepret:postgres@db/lepret?sslmode=require"),
        ("W008", "DATABASE_URL", "postgresql://lepret:short@db/lepret?sslmode=require"),
        ("W008", "REDIS_URL", "rediss://valkey:6379/0"),
        ("W009", "DATABASE_URL", "sqlite:////var/lib/lepret/lepret.sqlite3"),
        ("W009", "DATABASE_URL", ""),
        ("W010", "APPLICATIONS_PER_ADDRESS", "none"),
        ("W010", "APPLICATIONS_PER_NATIONAL_ID", "none"),
        ("W010", "API_RATE", "none"),
        ("W010", "API_ANONYMOUS_RATE", "none"),
        ("W011", "WEB_PROXIES", "0"),
        ("W010", "LOOKUPS_PER_ADDRESS", "none"),
        ("W010", "LOOKUPS_PER_NUMBER", "none"),
        ("W012", "LEPRET_DEMO", "true"),
        ("I014", "CONTACT", ""),
        ("I014", "PRIVACY_NOTICE_PATH", ""),
    ],
)
def test_a_bad_setting_is_warned_of(warnings: Warnings, number: str, name: str, value: str) -> None:
    assert warnings.about({name: value}) == {number}


@pytest.mark.django_db
def test_a_demos_database_is_warned_of_when_the_database_is_looked_into() -> None:
    def ids() -> list[str | None]:
        found = run_checks(
            tags=["database"], include_deployment_checks=True, databases=[connection.alias]
        )
        return [each.id for each in found if str(each.id).startswith("lepret.")]

    assert ids() == []
    mark(connection.alias)
    assert ids() == ["lepret.W013"]
