"""Checks of the project as a whole."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import call_command
from django.test import Client

from tests.support.processes import PROJECT


@pytest.mark.django_db
def test_migrations_are_complete() -> None:
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)


def test_the_boundaries_between_the_parts_hold() -> None:
    lint_imports = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run(
        [str(lint_imports)], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout


def manage(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=PROJECT,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


PRODUCTION = {
    "DJANGO_SECRET_KEY": "k" * 30 + "0123456789abcdefghijklmnopqrstuvwxyz",
    "LEPRET_HMAC_KEY": "b7f1c09ae2d84c53a6f0e91d7c3b5a2848e6d1f09b7a3c5e",
    "DJANGO_ALLOWED_HOSTS": "loans.example",
    "DATABASE_URL": "postgresql://lepret:9aX2mQ7Lr4@db/lepret?sslmode=verify-full",
    "EVENTSTORE_URI": "esdb://lepret:9aX2mQ7Lr4@events:2113",
    "REDIS_URL": "rediss://:9aX2mQ7Lr4@valkey:6379/0",
    "CREDIT_BUREAU_URL": "https://bureau.example",
    "WEB_PROXIES": "1",
}


def test_deployment_checks_pass_with_the_production_variables() -> None:
    result = manage("check", "--deploy", "--fail-level", "WARNING", **PRODUCTION)
    assert result.returncode == 0, result.stderr


def test_cookies_belong_to_this_host_alone_over_https() -> None:
    result = manage("diffsettings", **PRODUCTION)
    for kind, name in (("SESSION", "sessionid"), ("CSRF", "csrftoken")):
        assert f"{kind}_COOKIE_NAME = '__Host-{name}'" in result.stdout
        assert f"{kind}_COOKIE_SECURE = True" in result.stdout


def test_sessions_last_twelve_hours_and_one_idle_hour_unless_the_operator_says_otherwise() -> None:
    result = manage("diffsettings", **PRODUCTION)
    assert "SESSION_COOKIE_AGE = 43200\n" in result.stdout
    assert "SESSION_IDLE_SECONDS = 3600" in result.stdout
    result = manage("diffsettings", **PRODUCTION, SESSION_HOURS="8", SESSION_IDLE_MINUTES="15")
    assert "SESSION_COOKIE_AGE = 28800\n" in result.stdout
    assert "SESSION_IDLE_SECONDS = 900" in result.stdout


# Each of the warnings is tested in tests/unit/lepret/test_checks.py.
def test_deployment_checks_warn_of_a_missing_hmac_key() -> None:
    production = {**PRODUCTION, "LEPRET_HMAC_KEY": ""}
    result = manage("check", "--deploy", "--fail-level", "WARNING", **production)
    assert result.returncode != 0
    assert "LEPRET_HMAC_KEY" in result.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("EVENTSTORE_URI", "http://events:2113"),
        ("REDIS_URL", "valkey"),
        ("DATABASE_URL", "mysql://db"),
        ("READMODELS_DATABASE_URL", "nonsense"),
        ("CREDIT_BUREAU_URL", "bureau"),
        ("DJANGO_DEBUG", "perhaps"),
    ],
)
def test_an_error_names_the_bad_setting(name: str, value: str) -> None:
    result = manage("check", **{**PRODUCTION, name: value})
    assert result.returncode != 0
    [line] = result.stderr.splitlines()
    assert name in line


@pytest.mark.django_db
@pytest.mark.usefixtures("streams")
def test_no_personal_data_is_logged_at_any_level(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    secrets = {"name": "Xaviera Quux", "national_id": "555555zz", "address": "Nowhere Lane"}
    good = {**secrets, "amount": 5000}

    client.post("/", {**good, "id": "00000000-0000-4000-8000-00000000abcd"})
    client.post("/", {**good, "id": "broken", "amount": "x"})
    client.post("/api/loan-requests", good, content_type="application/json")
    client.post("/api/loan-requests", {**good, "amount": 0}, content_type="application/json")
    client.get("/loans/00000000-0000-4000-8000-00000000abcd/")

    # Without the SQL that Django logs in debug mode, which nobody uses in production.
    lines = [r.getMessage() for r in caplog.records if r.name != "django.db.backends"]
    assert lines, "something was logged at all"
    assert not re.search("Xaviera|555555zz|Nowhere", "\n".join(lines))
