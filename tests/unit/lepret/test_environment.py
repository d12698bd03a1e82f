"""The settings that come from the environment, and what is refused there."""

from __future__ import annotations

import os
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured
from hypothesis import given, strategies

from lepret.demo.directory import claimed
from lepret.environment import (
    LARGEST_FILE_BYTES,
    Environment,
    Rate,
    database_settings,
    variables_given,
)


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
def test_a_rate_is_a_number_of_calls_in_a_period(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, value: str, rate: Rate | None
) -> None:
    monkeypatch.setenv("API_RATE", value)
    assert Environment.read(tmp_path).api_rate == rate


def test_by_default_calls_and_applications_are_limited_and_there_is_no_proxy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    by_default = Environment.read(tmp_path)
    assert by_default.api_anonymous_rate == Rate(600, 60)
    assert by_default.applications_per_address == Rate(30, 3600)
    assert by_default.applications_per_national_id == Rate(10, 86_400)
    assert by_default.web_proxies == 0
    monkeypatch.setenv("API_ANONYMOUS_RATE", "10/min")
    monkeypatch.setenv("WEB_PROXIES", "2")
    assert Environment.read(tmp_path).api_anonymous_rate == Rate(10, 60)
    assert Environment.read(tmp_path).web_proxies == 2


def test_the_old_name_of_the_number_of_proxies_still_works(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("API_PROXIES", "1")
    assert Environment.read(tmp_path).web_proxies == 1


@pytest.mark.parametrize(
    ("value", "networks"),
    [
        ("", ["127.0.0.0/8", "::1/128"]),
        ("none", []),
        ("10.1.2.3", ["10.1.2.3/32"]),
        ("10.0.0.0/8, fd00::/8", ["10.0.0.0/8", "fd00::/8"]),
    ],
)
def test_those_who_may_see_figures_are_in_networks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, value: str, networks: list[str]
) -> None:
    monkeypatch.setenv("MONITORING_NETWORKS", value)
    assert list(map(str, Environment.read(tmp_path).monitoring_networks)) == networks


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
        ("WEB_PROXIES", "-1"),
        ("WEB_PROXIES", "two"),
        ("WEB_PROXIES", "100"),
        ("CREDIT_BUREAU_LATENCY_SECONDS", "-1"),
        ("READYZ_MAX_LAG_SECONDS", "nan"),
        ("MONITORING_TOKEN", "short"),
        ("MONITORING_TOKEN", "x" * 16 + " " + "x" * 16),
        ("MONITORING_NETWORKS", "here"),
        ("MONITORING_NETWORKS", "10.0.0.1/8"),
        ("MONITORING_NETWORKS", "10.0.0.0/8;127.0.0.1"),
        ("CURRENCY", "pounds"),
        ("CURRENCY", "gbp"),
        ("TIME_ZONE", "London"),
        ("TIME_ZONE", "../UTC"),
        ("TIME_ZONE", "Europe/"),
        ("CONTACT", "loans@example.com\nor by post"),
        ("CONTACT", "x" * 201),
        ("SESSION_HOURS", "0"),
        ("SESSION_HOURS", "nan"),
        ("SESSION_IDLE_MINUTES", "-5"),
        ("SESSION_IDLE_MINUTES", "an hour"),
        ("STAFF_SECOND_FACTOR", "yes"),
        ("OIDC_ISSUER", "sso.example.com"),
        ("OIDC_ISSUER", "http://sso.example.com"),
        ("OIDC_SECOND_FACTOR", "2"),
        ("PASSWORD_LOGIN", "false"),
    ],
)
def test_a_bad_value_is_refused_with_the_name_of_its_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ImproperlyConfigured, match=f"^{name} must be"):
        Environment.read(tmp_path)


def test_a_privacy_notice_is_the_text_of_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "notice.txt"
    monkeypatch.setenv("PRIVACY_NOTICE_PATH", str(file))
    file.write_bytes("\ufeffWho we are\r\n\r\nÉtude & Söhne".encode())
    assert Environment.read(tmp_path).privacy_notice == "Who we are\n\nÉtude & Söhne"
    for content in (b"", b" \n", b"\xff\xfe", b"a\x00b", b"x" * (LARGEST_FILE_BYTES + 1)):
        file.write_bytes(content)
        with pytest.raises(ImproperlyConfigured, match=r"^PRIVACY_NOTICE_PATH must name a file"):
            Environment.read(tmp_path)
    for path in (tmp_path, tmp_path / "nothing", "/dev/zero"):
        monkeypatch.setenv("PRIVACY_NOTICE_PATH", str(path))
        with pytest.raises(ImproperlyConfigured, match=r"^PRIVACY_NOTICE_PATH must name a file"):
            Environment.read(tmp_path)


def test_an_identity_provider_needs_a_client_and_a_group(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    needed = {
        "OIDC_ISSUER": "https://sso.example.com/realms/staff",
        "OIDC_CLIENT_ID": "lepret",
        "OIDC_BACK_OFFICE_GROUP": "clerks",
    }
    for name, value in needed.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PASSWORD_LOGIN", "false")
    assert Environment.read(tmp_path).password_login is False
    for name in ("OIDC_CLIENT_ID", "OIDC_BACK_OFFICE_GROUP"):
        monkeypatch.setenv(name, "")
        with pytest.raises(ImproperlyConfigured, match=f"^{name} must be set where"):
            Environment.read(tmp_path)
        monkeypatch.setenv(name, needed[name])
    monkeypatch.setenv("OIDC_BACK_OFFICE_GROUP", "")
    for name in ("OIDC_UNDERWRITERS_GROUP", "OIDC_POLICY_GROUP"):
        monkeypatch.setenv(name, "risk")
        Environment.read(tmp_path)
        monkeypatch.delenv(name)


def test_the_error_does_not_quote_the_bad_value(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://lepret:pass word@host/lepret")
    with pytest.raises(ImproperlyConfigured, match=r"^DATABASE_URL must begin with") as refusal:
        Environment.read(tmp_path)
    assert "pass word" not in "".join(traceback.format_exception(refusal.value))


def test_missing_variables_are_read_from_the_file_of_a_running_demo(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LEPRET_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("REDIS_URL", "redis://given")
    monkeypatch.setenv("CREDIT_BUREAU_URL", "")
    monkeypatch.delenv("DJANGO_SECRET_KEY")
    with claimed(tmp_path) as directory:
        directory.publish(
            {
                "REDIS_URL": "redis://published",
                "CREDIT_BUREAU_URL": "http://published",
                "DJANGO_SECRET_KEY": "not # a 'comment'",
            }
        )
        environment = Environment.read(tmp_path)
    assert environment.redis_url == "redis://given"
    assert environment.credit_bureau_url == "http://published"
    assert environment.django_secret_key == "not # a 'comment'"


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("postgresql://me:p%40ss@host:5432/name", ("name", "me", "p@ss", "host", "5432")),
        ("postgres://one:1,two:2/name", ("name", "", "", "one,two", "1,2")),
        ("postgresql:///name?host=/run/postgresql", ("name", "", "", "/run/postgresql", "")),
    ],
)
def test_a_postgresql_url_is_read_as_libpq_reads_it(url: str, place: tuple[str, ...]) -> None:
    database = database_settings(f"{url}{'&' if '?' in url else '?'}sslmode=require")
    assert tuple(database[key] for key in ("NAME", "USER", "PASSWORD", "HOST", "PORT")) == place
    assert database["OPTIONS"]["sslmode"] == "require"


@pytest.mark.parametrize("name", Environment.variables())
@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_each_variable_can_be_given_as_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, end: str
) -> None:
    (tmp_path / "secret").write_bytes(f"any text{end}".encode())
    monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(f"{name}_FILE", str(tmp_path / "secret"))
    assert variables_given()[name] == "any text"


@pytest.mark.parametrize(
    ("name", "value", "field"),
    [
        ("LEPRET_DATA_DIR", "/somewhere/else", "lepret_data_dir"),
        ("DJANGO_HTTPS", "false", "django_https"),
        ("DJANGO_ALLOWED_HOSTS", "one.example,two.example", "django_allowed_hosts"),
        ("DATABASE_URL", "postgresql://me:p%40ss@host:5432/name", "database"),
        ("API_RATE", "10/s", "api_rate"),
        ("API_PROXIES", "3", "web_proxies"),
    ],
)
def test_a_value_in_a_file_is_read_as_one_in_a_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, value: str, field: str
) -> None:
    monkeypatch.setenv(name, value)
    as_variable = getattr(Environment.read(tmp_path), field)
    monkeypatch.delenv(name)
    (tmp_path / "secret").write_text(f"{value}\n")
    monkeypatch.setenv(f"{name}_FILE", str(tmp_path / "secret"))
    assert getattr(Environment.read(tmp_path), field) == as_variable


@given(
    strategies.text(
        strategies.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=100
    ).filter(str.strip)
)
def test_any_line_of_text_is_read_as_it_is(line: str) -> None:
    with (
        tempfile.NamedTemporaryFile() as file,
        pytest.MonkeyPatch.context() as patch,
    ):
        Path(file.name).write_text(f"{line}\n", encoding="utf-8", newline="")
        patch.setenv("LEPRET_HMAC_KEY_FILE", file.name)
        assert variables_given()["LEPRET_HMAC_KEY"] == line
        assert "LEPRET_HMAC_KEY_FILE" not in variables_given()


def test_an_empty_name_of_a_file_counts_as_absent(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("API_RATE_FILE", "")
    monkeypatch.setenv("API_RATE", "1/s")
    assert Environment.read(tmp_path).api_rate == Rate(1, 1)


def test_a_file_goes_before_the_demo_s_value(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LEPRET_DATA_DIR", str(tmp_path))
    (tmp_path / "demo.env").write_text("REDIS_URL='redis://published'\n")
    (tmp_path / "secret").write_text("redis://given")
    monkeypatch.setenv("REDIS_URL_FILE", str(tmp_path / "secret"))
    assert Environment.read(tmp_path).redis_url == "redis://given"


def _absent(path: Path) -> None:
    pass


def _unreadable(path: Path) -> None:
    path.symlink_to(path)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (_absent, "No such file or directory"),
        (_unreadable, "Too many levels of symbolic links"),
        (Path.mkdir, "not a regular file"),
        (os.mkfifo, "not a regular file"),
        (Path.touch, "empty"),
        (lambda path: path.write_text("\n"), "empty"),
        (lambda path: path.write_text("  \n"), "empty"),
        (lambda path: path.write_text("s3cret\nmore"), "more than one line"),
        (lambda path: path.write_text("s3cret\0"), "control characters"),
        (lambda path: path.write_bytes(b"s3cret\xff"), "not UTF-8"),
        (lambda path: path.write_bytes(b"s" * (LARGEST_FILE_BYTES + 1)), "larger than"),
        (lambda path: path.symlink_to("/dev/zero"), "not a regular file"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_the_name_of_its_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, make: Callable[[Path], object], reason: str
) -> None:
    file = tmp_path / "perhaps-a-s3cret"
    make(file)
    monkeypatch.setenv("DJANGO_SECRET_KEY_FILE", str(file))
    monkeypatch.delenv("DJANGO_SECRET_KEY", raising=False)
    with pytest.raises(
        ImproperlyConfigured, match=rf"^DJANGO_SECRET_KEY_FILE .*{reason}"
    ) as refusal:
        Environment.read(tmp_path)
    assert "\n" not in str(refusal.value)
    assert "s3cret" not in str(refusal.value)


def test_a_variable_that_is_given_both_ways_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("redis://one")
    monkeypatch.setenv("REDIS_URL", "redis://two")
    monkeypatch.setenv("REDIS_URL_FILE", str(tmp_path / "secret"))
    with pytest.raises(ImproperlyConfigured, match=r"^REDIS_URL and REDIS_URL_FILE are both set"):
        Environment.read(tmp_path)


def test_a_bad_value_in_a_file_is_refused_without_being_quoted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("mysql://me:s3cret@host/name")
    monkeypatch.setenv("DATABASE_URL_FILE", str(tmp_path / "secret"))
    with pytest.raises(ImproperlyConfigured, match=r"^DATABASE_URL must begin with") as refusal:
        Environment.read(tmp_path)
    assert "s3cret" not in "".join(traceback.format_exception(refusal.value))
