"""Warnings about this project's own settings, given by `manage.py check --deploy`.

Those that look into the database are given with `--database default`, too.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Info, Tags, Warning, register  # noqa: A004
from django.db import Error

from lepret.demo.ownership import is_marked
from lepret.environment import Environment

SHORTEST_KEY: Final = 32
# Bits of a key's characters, by their frequencies (Shannon). 32 random bytes in hex have about 230.
FEWEST_BITS: Final = 100
# A password is at least this long.
SHORTEST_PASSWORD: Final = 8
# Parts of the keys and passwords that people and examples use; KurrentDB's first one is changeit.
_GUESSABLE: Final = (
    *("changeit", "changeme", "change-me", "change_me", "password", "passw0rd", "secret"),
    *("insecure", "default", "letmein", "example", "qwerty", "123456", "abcdef", "postgres"),
)
_KEY_HINT: Final = "Set it to the output of `openssl rand -hex 32` before anything is recorded."

Found = Iterator[tuple[str, str]]


def _warning(
    number: int, kind: type[Warning | Info] = Warning
) -> Callable[[Callable[[Environment], Found]], object]:
    """Register a check that yields messages with hints, as warnings with the id of this number."""

    def decorator(check: Callable[[Environment], Found]) -> object:
        def run(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
            found = check(settings.ENVIRONMENT)
            name = f"lepret.{kind.__name__[0]}{number:03}"
            return [kind(text, hint=hint, id=name) for text, hint in found]

        return register(run, Tags.security, deploy=True)

    return decorator


@_warning(1)
def hmac_key_is_set(environment: Environment) -> Found:
    """The HMAC key must not depend on the secret key, which may be changed at any time."""
    if not environment.lepret_hmac_key:
        yield (
            "LEPRET_HMAC_KEY is not set, so it is derived from DJANGO_SECRET_KEY.",
            "Set it, and never change it: stream names in the event store depend on it.",
        )


@_warning(2)
def hmac_key_is_strong(environment: Environment) -> Found:
    """With the HMAC key, anybody could compute the hash of every national ID there is."""
    key = environment.lepret_hmac_key
    if not key:
        return
    if len(key.encode()) < SHORTEST_KEY:
        yield f"LEPRET_HMAC_KEY has fewer than {SHORTEST_KEY} bytes.", _KEY_HINT
    elif _bits(key) < FEWEST_BITS or _is_guessable(key) or _is_repeated(key):
        yield "LEPRET_HMAC_KEY can be guessed.", _KEY_HINT


@_warning(3)
def keys_differ(environment: Environment) -> Found:
    """A key that leaks must not give the other one away."""
    keys = (environment.lepret_hmac_key, environment.django_secret_key)
    if all(keys) and (keys[0] in keys[1] or keys[1] in keys[0]):
        yield "LEPRET_HMAC_KEY is part of DJANGO_SECRET_KEY, or the same.", _KEY_HINT


@_warning(4)
def hosts_are_named(environment: Environment) -> Found:
    """With a forged `Host`, links and redirects would lead elsewhere."""
    for host in environment.django_allowed_hosts:
        # Of a suffix such as .com, strangers own names.
        if "*" in host or (host.startswith(".") and "." not in host.strip(".")):
            text = "DJANGO_ALLOWED_HOSTS allows the hosts of strangers: it has * or a bare suffix."
            yield text, "Name each host, such as loans.example.com."
            return


@_warning(5)
def scores_are_true(environment: Environment) -> Found:
    """Without a credit bureau, loans are decided at random."""
    if environment.credit_bureau_url is None:
        yield (
            "CREDIT_BUREAU_URL is not set: no clearing house is asked, and scores are made up.",
            "Set it to the credit bureau's address.",
        )


@_warning(6)
def credit_bureau_is_asked_over_tls(environment: Environment) -> Found:
    """National IDs are sent to it."""
    url = urlsplit(environment.credit_bureau_url or "")
    if url.scheme == "http" and not _is_here(url.hostname):
        yield "CREDIT_BUREAU_URL is without TLS.", "Use https://."


@_warning(7)
def services_are_reached_over_tls(environment: Environment) -> Found:
    """Names, national IDs and passwords are sent to them."""
    store = urlsplit(environment.eventstore_uri)
    options = {name.lower(): values for name, values in parse_qs(store.query).items()}
    if options.get("tls", ["true"])[-1].lower() == "false" and not _is_here(_host(store.netloc)):
        yield "EVENTSTORE_URI has tls=false.", "Set the event store up with certificates."
    valkey = urlsplit(environment.redis_url)
    if valkey.scheme == "redis" and not _is_here(valkey.hostname):
        yield "REDIS_URL is without TLS.", "Use rediss://, or a socket of this machine: unix://."
    for variable, database in _databases(environment):
        is_encrypted = database.get("OPTIONS", {}).get("sslmode") in _ENCRYPTED
        if _is_postgresql(database) and not is_encrypted and not _is_here(database["HOST"]):
            yield f"{variable} may be without TLS.", "Add ?sslmode=verify-full to it."


@_warning(8)
def services_have_passwords_that_nobody_guesses(environment: Environment) -> Found:
    """Whoever reaches them could otherwise read and change everything."""
    for variable, password, is_elsewhere in _passwords(environment):
        if password and (len(password) < SHORTEST_PASSWORD or _is_guessable(password)):
            yield f"{variable} has a password that can be guessed.", "Choose a random one."
        elif not password and is_elsewhere:
            yield f"{variable} has no password.", "Set one there, and name it in the variable."


@_warning(9)
def database_is_for_many_processes(environment: Environment) -> Found:
    """SQLite has one writer at a time, one machine, and no second copy."""
    if not _is_postgresql(environment.database):
        yield "DATABASE_URL is SQLite's, or not set.", "Use PostgreSQL: postgresql://…"


@_warning(10)
def callers_are_limited(environment: Environment) -> Found:
    """Without limits, anybody can try out who has requests, or keep others out."""
    for name in (
        "applications_per_address",
        "applications_per_national_id",
        "lookups_per_address",
        "lookups_per_number",
        "api_rate",
        "api_anonymous_rate",
    ):
        if getattr(environment, name) is None:
            yield f"{name.upper()} is none: there is no limit.", "Unset it, or set a rate."


@_warning(11)
def callers_are_told_apart(environment: Environment) -> Found:
    """Behind a proxy that is not counted, everybody has the proxy's address, and one limit."""
    if environment.django_https and environment.web_proxies == 0:
        yield (
            "WEB_PROXIES is 0, but DJANGO_HTTPS needs a proxy: all callers count as one.",
            "Set WEB_PROXIES to the number of your proxies that add to X-Forwarded-For.",
        )


@_warning(12)
def it_is_no_demo(environment: Environment) -> Found:
    """A demo's passwords are known to everyone."""
    if environment.lepret_demo:
        yield "LEPRET_DEMO is true: a demo's passwords are valid here.", "Unset it."


@_warning(14, kind=Info)  # Nothing is less safe without.
def applicants_are_told_whom_to_contact(environment: Environment) -> Found:
    """And who has their data: the product's own notice cannot know."""
    if not environment.contact:
        yield "CONTACT is not set: pages do not say whom to contact.", "Set it."
    if not environment.privacy_notice:
        yield (
            "PRIVACY_NOTICE_PATH is not set: /privacy/ says only what the software does.",
            "Write a notice that says who you are and for how long you keep the data.",
        )


@register(Tags.security, Tags.database, deploy=True)
def database_is_no_demos(
    app_configs: Any, *, databases: Collection[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Warn of a database in which a demo has made accounts and loan requests."""
    return [
        Warning(
            f"The database {alias!r} was made by a demo.",
            hint="Use another one: this has made-up data and a demo's accounts and API tokens.",
            id="lepret.W013",
        )
        for alias in databases or ()
        if _was_made_by_a_demo(alias)
    ]


def _was_made_by_a_demo(alias: str) -> bool:
    try:
        return is_marked(alias)
    except Error:  # Whether it answers is another question.
        return False


_ENCRYPTED: Final = ("require", "verify-ca", "verify-full")


def _databases(environment: Environment) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "DATABASE_URL", environment.database
    if environment.readmodels_database is not None:
        yield "READMODELS_DATABASE_URL", environment.readmodels_database


def _passwords(environment: Environment) -> Iterator[tuple[str, str, bool]]:
    """Each variable with its password, and whether the service is on another machine."""
    store, valkey = urlsplit(environment.eventstore_uri), urlsplit(environment.redis_url)
    yield "EVENTSTORE_URI", _password_in(store.netloc), not _is_here(_host(store.netloc))
    is_elsewhere = valkey.scheme != "unix" and not _is_here(valkey.hostname)
    yield "REDIS_URL", unquote(valkey.password or ""), is_elsewhere
    for variable, database in _databases(environment):
        if _is_postgresql(database):
            # Certificates or a socket may do without one.
            yield variable, database["PASSWORD"], False


def _is_postgresql(database: dict[str, Any]) -> bool:
    return str(database["ENGINE"]).endswith("postgresql")


def _password_in(netloc: str) -> str:
    user, _, _ = netloc.rpartition("@")
    return unquote(user.partition(":")[2])


def _host(netloc: str) -> str:
    """The host in `user:password@host:port,host:port`, the first of several."""
    first = netloc.rpartition("@")[2].split(",")[0]
    return urlsplit(f"//{first}").hostname or ""


def _is_here(host: str | None) -> bool:
    """Whether a host is this machine; PostgreSQL's sockets are directories."""
    if not host or host == "localhost" or host.startswith("/"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _is_guessable(secret: str) -> bool:
    return any(part in secret.lower() for part in _GUESSABLE)


def _is_repeated(key: str) -> bool:
    """Whether it is a shorter text, again and again."""
    return key in (key + key)[1:-1]


def _bits(key: str) -> float:
    times = Counter(key)
    return -sum(count * math.log2(count / len(key)) for count in times.values())
