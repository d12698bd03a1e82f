"""Reads the settings that an operator gives through environment variables, typed and checked."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple
from urllib.parse import quote, urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured

DEMO_ENVIRONMENT_FILE = "demo.env"


class Rate(NamedTuple):
    """At most so many calls in so many seconds."""

    calls: int
    seconds: int


@dataclass(frozen=True, kw_only=True)
class Environment:
    """What the environment says; `None` where a service of its own was not named."""

    data_dir: Path
    secret_key: str
    hmac_key: str
    debug: bool
    https: bool
    allowed_hosts: list[str]
    trusted_origins: list[str]
    event_store_uri: str
    database: dict[str, Any]
    readmodels_database: dict[str, Any] | None
    redis_url: str
    credit_bureau_url: str | None
    credit_bureau_latency_seconds: float
    readyz_max_lag_seconds: float | None
    api_rate: Rate | None
    api_anonymous_rate: Rate | None
    api_proxies: int

    @classmethod
    def read(cls, base_dir: Path) -> Environment:
        """Read `os.environ`, and for what it lacks the file that a running demo leaves.

        The demo writes the addresses of what it started into its data directory, so that
        `manage.py rebuild` in a second terminal finds the same services.

        Raises:
            ImproperlyConfigured: a variable has a value that cannot be used; names it.
        """
        env = _env_of_its_own()
        data_dir = Path(env.str("LEPRET_DATA_DIR", default=str(base_dir / ".lepret")))
        demo_environment = data_dir / DEMO_ENVIRONMENT_FILE
        if demo_environment.is_file():
            env.read_env(demo_environment)
        debug = _flag(env, "DJANGO_DEBUG", default=False)
        return cls(
            data_dir=data_dir,
            secret_key=env.str("DJANGO_SECRET_KEY", default=""),
            hmac_key=env.str("LEPRET_HMAC_KEY", default=""),
            debug=debug,
            https=_flag(env, "DJANGO_HTTPS", default=not debug),
            allowed_hosts=env.list("DJANGO_ALLOWED_HOSTS", default=["localhost", "127.0.0.1"]),
            trusted_origins=env.list("DJANGO_CSRF_TRUSTED_ORIGINS", default=[]),
            event_store_uri=_url(
                env,
                "EVENTSTORE_URI",
                schemes=("esdb", "esdb+discover"),
                default="esdb://127.0.0.1:2113?tls=false",
            ),
            database=_database(env, "DATABASE_URL", default=lambda: _sqlite_in(data_dir)),
            readmodels_database=(
                _database(env, "READMODELS_DATABASE_URL")
                if env.str("READMODELS_DATABASE_URL", default="")
                else None
            ),
            redis_url=_url(
                env,
                "REDIS_URL",
                schemes=("redis", "rediss", "unix"),
                default="redis://127.0.0.1:6379/0",
            ),
            credit_bureau_url=(
                _url_with_host(env, "CREDIT_BUREAU_URL", schemes=("http", "https"))
                if env.str("CREDIT_BUREAU_URL", default="")
                else None
            ),
            credit_bureau_latency_seconds=env.float("CREDIT_BUREAU_LATENCY_SECONDS", default=0.1),
            readyz_max_lag_seconds=_seconds(env, "READYZ_MAX_LAG_SECONDS"),
            api_rate=_rate(env, "API_RATE", default="600/min"),
            api_anonymous_rate=_rate(env, "API_ANONYMOUS_RATE", default="none"),
            api_proxies=_count(env, "API_PROXIES"),
        )


def _env_of_its_own() -> environ.Env:
    """An `Env` over a copy, since `read_env` writes what it reads into the mapping it reads from.

    The demo, for one, must go on seeing what was really given to it.
    """

    class Env(environ.Env):
        ENVIRON: ClassVar[dict[str, str]] = dict(os.environ)

    return Env()


def _flag(env: environ.Env, name: str, *, default: bool) -> bool:
    value: str = env.str(name, default=str(default)).lower()
    if value not in ("true", "false", "1", "0"):
        raise ImproperlyConfigured(f"{name} must be true or false")
    return value in ("true", "1")


def _seconds(env: environ.Env, name: str) -> float | None:
    value: str = env.str(name, default="")
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ImproperlyConfigured(f"{name} must be a number of seconds")
    return seconds


_SECONDS_IN = {"s": 1, "sec": 1, "min": 60, "hour": 3600, "day": 86_400}


def _rate(env: environ.Env, name: str, *, default: str) -> Rate | None:
    value: str = env.str(name, default=default) or default
    if value == "none":
        return None
    match = re.fullmatch(r"([1-9][0-9]{0,8})/([1-9][0-9]{0,3})?(s|sec|min|hour|day)", value)
    if match is None:
        raise ImproperlyConfigured(f"{name} must be none, or a rate such as 10/s or 600/min")
    calls, many, unit = match.groups(default="1")
    return Rate(int(calls), int(many) * _SECONDS_IN[unit])


def _count(env: environ.Env, name: str) -> int:
    value: str = env.str(name, default="") or "0"
    if not (value.isascii() and value.isdigit() and len(value) <= 2):  # noqa: PLR2004
        raise ImproperlyConfigured(f"{name} must be a number from 0 to 99")
    return int(value)


def _url(env: environ.Env, name: str, *, schemes: tuple[str, ...], default: str = "") -> str:
    value: str = env.str(name, default=default) or default
    if urlsplit(value).scheme not in schemes:
        wanted = " or ".join(f"{scheme}://" for scheme in schemes)
        raise ImproperlyConfigured(f"{name} must begin with {wanted}")
    return value


def _url_with_host(env: environ.Env, name: str, *, schemes: tuple[str, ...]) -> str:
    value = _url(env, name, schemes=schemes)
    parts = urlsplit(value)
    try:
        is_usable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_usable = False
    if not is_usable:
        raise ImproperlyConfigured(
            f"{name} must be an address such as {schemes[-1]}://bureau.example"
        )
    return value


def _sqlite_in(data_dir: Path) -> str:
    # SQLite makes the file, but not the directory that it is in.
    data_dir.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{quote(str(data_dir.absolute()))}/lepret.sqlite3"


_DATABASE_ENGINES = {
    "sqlite": "django.db.backends.sqlite3",
    "postgres": "django.db.backends.postgresql",
    "postgresql": "django.db.backends.postgresql",
}


def _database(env: environ.Env, name: str, *, default: Callable[[], str] = str) -> dict[str, Any]:
    url = env.str(name, default="") or default()
    if urlsplit(url).scheme not in _DATABASE_ENGINES:
        raise ImproperlyConfigured(f"{name} must begin with sqlite:/// or postgresql://")
    return database_settings(url)


def database_settings(url: str) -> dict[str, Any]:
    """What Django wants to know of the database at `url`, SQLite's or PostgreSQL's."""
    engine = _DATABASE_ENGINES[urlsplit(url).scheme]
    database: dict[str, Any] = environ.Env.db_url_config(url)
    if engine.endswith("sqlite3"):
        return database | {"OPTIONS": _SQLITE_OPTIONS}
    # A thread per request under ASGI means that a connection per thread would pile up: the pool
    # bounds them, and hands each back at the end of its request.
    # `reconnect_timeout` bounds how far apart the pool's own attempts to come back grow.
    pool = {"min_size": 0, "max_size": 20, "timeout": 5, "reconnect_timeout": 3}
    pooled = {"pool": pool, "connect_timeout": 3, **_NOTICE_A_LOST_HOST}
    return database | {"OPTIONS": database.get("OPTIONS", {}) | pooled, "CONN_MAX_AGE": 0}


# A host that vanishes without a word would otherwise be waited for as long as TCP tries, which is a
# quarter of an hour. Seconds, and for `tcp_user_timeout` milliseconds.
_NOTICE_A_LOST_HOST = {
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}

# Several processes share the file. WAL lets readers go on beside the one writer; IMMEDIATE takes
# the write lock at the start of a transaction, so that the busy time-out (20 s) applies to it.
_SQLITE_OPTIONS = {
    "transaction_mode": "IMMEDIATE",
    "timeout": 20,
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
}
