"""Reads and checks the settings that an operator gives through environment variables.

Instead of each variable, `<name>_FILE` may name a file with its value, so that secrets need not be
in the environment, which other programs list and log.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple
from urllib.parse import unquote, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from babel.numbers import is_currency
from django.core.exceptions import ImproperlyConfigured
from pydantic import (
    AfterValidator,
    AliasChoices,
    BeforeValidator,
    Field,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

DEMO_ENVIRONMENT_FILE = "demo.env"

# No value is nearly as long; a larger file is another one by mistake, or a device.
LARGEST_FILE_BYTES: Final = 65_536

# Several processes share the file. WAL lets readers go on beside the one writer; IMMEDIATE takes
# the write lock at the start of a transaction, so that the busy timeout (20 s) applies to it.
_SQLITE_OPTIONS = {
    "transaction_mode": "IMMEDIATE",
    "timeout": 20,
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
}

# How long a thread keeps a connection: opening one costs more than most requests. Not for ever, in
# case that somebody replaces the file.
_SQLITE_SECONDS = 10

_POSTGRESQL_OPTIONS = {
    # Under ASGI requests run in many threads. The pool limits their connections, and takes each
    # one back at the end of its request. `reconnect_timeout` limits the growing delays between
    # the pool's attempts to reconnect.
    "pool": {"min_size": 0, "max_size": 20, "timeout": 5, "reconnect_timeout": 3},
    "connect_timeout": 3,
    # Without these, it takes TCP a quarter of an hour to notice that a host has vanished. In
    # seconds; `tcp_user_timeout` in milliseconds.
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}

_SECONDS_IN = {"s": 1, "sec": 1, "min": 60, "hour": 3600, "day": 86_400}


Network = IPv4Network | IPv6Network

_LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))


class Rate(NamedTuple):
    """At most this many calls in this many seconds."""

    calls: int
    seconds: int


def database_settings(url: str) -> dict[str, Any]:
    """Django's settings for the database at `url`, SQLite's or PostgreSQL's.

    Raises:
        ValueError: the URL is neither.
    """
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        return _sqlite(unquote(parts.path[1:]) or ":memory:")
    if parts.scheme in ("postgres", "postgresql"):
        return _postgresql(url)
    raise ValueError("neither SQLite's nor PostgreSQL's")


def _sqlite(name: str) -> dict[str, Any]:
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": name,
        "OPTIONS": _SQLITE_OPTIONS,
        "CONN_MAX_AGE": _SQLITE_SECONDS,
    }


def _postgresql(url: str) -> dict[str, Any]:
    from psycopg import ProgrammingError  # noqa: PLC0415 (slow, and SQLite does not need it)
    from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415

    try:
        parts: dict[str, Any] = conninfo_to_dict(url)
    except ProgrammingError:
        raise ValueError("not a PostgreSQL URL") from None
    return {
        "ENGINE": "lepret.common.postgresql",
        "NAME": parts.pop("dbname", ""),
        "USER": parts.pop("user", ""),
        "PASSWORD": parts.pop("password", ""),
        "HOST": parts.pop("host", ""),
        "PORT": parts.pop("port", ""),
        "OPTIONS": parts | _POSTGRESQL_OPTIONS,
        "CONN_MAX_AGE": 0,
    }


def _must(reason: str) -> WrapValidator:
    """Report a bad value with `reason`. Pydantic's own message would quote it: it may be secret."""

    def check(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
        try:
            return validate(value)
        except ValueError:
            raise PydanticCustomError("environment", reason) from None

    return WrapValidator(check)


def _begins_with(*schemes: str) -> BeforeValidator:
    reason = "begin with " + " or ".join(f"{scheme}://" for scheme in schemes)

    def check(url: str) -> str:
        if urlsplit(url).scheme not in schemes:
            raise PydanticCustomError("environment", reason)
        return url

    return BeforeValidator(check)


def _has_host(url: str) -> str:
    parts = urlsplit(url)
    if not parts.hostname or parts.port == 0:
        raise ValueError("no host, or no usable port")
    return url


def is_https_or_this_machine(url: str) -> str:
    """`url`, unless secrets on their way to it could be read by others.

    Raises:
        ValueError: it is no `https://` URL, nor one of this machine's own.
    """
    parts = urlsplit(_has_host(url))
    is_local = parts.hostname in ("localhost", "127.0.0.1", "::1")
    if parts.scheme != "https" and not (parts.scheme == "http" and is_local):
        raise ValueError("others could read what is sent there")
    return url


def _is_set_with_issuer(value: str, info: ValidationInfo) -> str:
    if info.data.get("oidc_issuer") and not value:
        raise ValueError("the identity provider cannot be used without")
    return value


def _maps_a_group_with_issuer(value: str, info: ValidationInfo) -> str:
    # Otherwise the provider would let nobody do anything.
    has_another = info.data.get("oidc_underwriters_group") or info.data.get("oidc_policy_group")
    return value if has_another else _is_set_with_issuer(value, info)


def _needs_issuer(value: Any, info: ValidationInfo) -> Any:
    # Otherwise nobody could log in.
    if value is False and not info.data.get("oidc_issuer"):
        raise ValueError("no other way to log in")
    return value


def _rate(text: str) -> Rate | None:
    if text == "none":
        return None
    match = re.fullmatch(r"([1-9][0-9]{0,8})/([1-9][0-9]{0,3})?(s|sec|min|hour|day)", text)
    if match is None:
        raise ValueError("not a rate")
    calls, many, unit = match.groups(default="1")
    return Rate(int(calls), int(many) * _SECONDS_IN[unit])


def _names_of(field: FieldInfo) -> list[str]:
    names = field.validation_alias
    if isinstance(names, AliasChoices):
        return [str(name) for name in names.choices]
    return [str(names)]


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def _networks(text: str) -> list[Network]:
    return [] if text == "none" else [ip_network(each.strip()) for each in _names(text)]


def _currency(code: str) -> str:
    if not is_currency(code):
        raise ValueError("not a currency")
    return code


def _text_of(path: str) -> str:
    """The text of a file.

    Raises:
        OSError: there is no such file.
        ValueError: it is not plain text in UTF-8, or is too large.
    """
    file = Path(path)
    if not file.is_file() or file.stat().st_size > LARGEST_FILE_BYTES:
        raise ValueError("no file, or a large one")
    text = file.read_text(encoding="utf-8-sig")
    if not text.strip() or re.search(r"[\x00-\x08\x0b-\x1f\x7f]", text):
        raise ValueError("empty, or not plain text")
    return text


def _time_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (OSError, ZoneInfoNotFoundError) as error:
        raise ValueError("not a time zone") from error
    return name


def _token(text: str) -> str:
    # RFC 6750, section 2.1.
    if re.fullmatch(r"[A-Za-z0-9._~+/-]{32,}=*", text) is None:
        raise ValueError("not a token, or a short one")
    return text


def _sqlite_in(data_dir: Path) -> dict[str, Any]:
    # SQLite makes the file, but not the directory that it is in.
    data_dir.mkdir(parents=True, exist_ok=True)
    return _sqlite(str(data_dir.absolute() / "lepret.sqlite3"))


Flag = Annotated[bool, _must("be true or false")]
Count = Annotated[int, Field(ge=0, le=99), _must("be a number from 0 to 99")]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False), _must("be a number of seconds")]
Lifetime = Annotated[
    float,
    Field(ge=0.01, le=10_000, allow_inf_nan=False),
    _must("be a number from 0.01 to 10000"),
]
SomeSeconds = Annotated[
    float, Field(gt=0, le=3600), _must("be a number of seconds, more than 0 and at most 3600")
]
Many = Annotated[int, Field(ge=1, le=1_000_000), _must("be a number from 1 to 1000000")]
Names = Annotated[list[str], BeforeValidator(_names)]
RateOrNone = Annotated[
    Rate | None, BeforeValidator(_rate), _must("be none, or a rate such as 10/s or 600/min")
]
Currency = Annotated[str, AfterValidator(_currency), _must("be a currency's code such as GBP")]
TimeZone = Annotated[
    str,
    AfterValidator(_time_zone),
    _must("be the name of a time zone such as Europe/London"),
]
Contact = Annotated[
    str,
    Field(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$"),
    _must("be one line of at most 200 characters"),
]
TextOfFile = Annotated[
    str,
    BeforeValidator(_text_of),
    _must(f"name a file of plain text in UTF-8 with at most {LARGEST_FILE_BYTES} bytes"),
]
Networks = Annotated[
    list[Network],
    BeforeValidator(_networks),
    _must("be none, or networks such as 127.0.0.0/8,fd00::/8"),
]
Token = Annotated[
    str,
    AfterValidator(_token),
    _must("be at least 32 letters, digits and -._~+/ with nothing between them"),
]
Database = Annotated[
    dict[str, Any],
    BeforeValidator(database_settings),
    _must("begin with sqlite:/// or postgresql://, and be a valid URL"),
]
Issuer = Annotated[
    str,
    AfterValidator(is_https_or_this_machine),
    _must("be the https:// address that the identity provider calls itself"),
]
UrlWithHost = Annotated[
    str, AfterValidator(_has_host), _must("be an address such as https://bureau.example")
]


def variables_given() -> dict[str, str]:
    """The environment variables, with the content of each `<name>_FILE` as the value of `<name>`.

    Raises:
        ImproperlyConfigured: a file cannot be used, or a variable is given both ways. The message
            names the variable, and quotes neither the value nor the path.
    """
    given = dict(os.environ)
    for name in Environment.variables():
        path = given.pop(f"{name}_FILE", "")
        if not path:
            continue
        if given.get(name):
            raise ImproperlyConfigured(f"{name} and {name}_FILE are both set: unset one of them")
        try:
            given[name] = only_line_of(Path(path))
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise ImproperlyConfigured(
                f"{name}_FILE must name a file with one line of text ({reason})"
            ) from None
    return given


def only_line_of(file: Path) -> str:
    """The only line of a file, without its end.

    Raises:
        OSError: there is no such file, or it cannot be read.
        ValueError: it is not one line of text; the message does not quote it.
    """
    if not file.is_file():
        file.stat()  # tells a missing file from one of another kind, which reading might wait for
        raise ValueError("not a regular file")
    with file.open("rb") as stream:
        content = stream.read(LARGEST_FILE_BYTES + 1)
    if len(content) > LARGEST_FILE_BYTES:
        raise ValueError(f"larger than {LARGEST_FILE_BYTES} bytes")
    try:
        line = content.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None
    if not line.strip():
        raise ValueError("empty")
    if re.search(r"[\x00-\x1f\x7f]", line):
        raise ValueError("more than one line, or control characters")
    return line


class _VariablesAndFiles(EnvSettingsSource):
    def _load_env_vars(self) -> Mapping[str, str | None]:
        return {name: value for name, value in variables_given().items() if value}


class Environment(BaseSettings):
    """The settings from the environment; `None` for a service that it does not name.

    Fields are named after their variables. An empty variable counts as absent.
    """

    model_config = SettingsConfigDict(
        alias_generator=str.upper,
        case_sensitive=True,
        enable_decoding=False,  # Lists are separated by commas, not JSON.
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        validate_default=False,
    )

    lepret_data_dir: Path
    lepret_hmac_key: str = ""
    lepret_demo: Flag = False
    django_secret_key: str = ""
    django_debug: Flag = False
    django_https: Flag = Field(default_factory=lambda data: not data["django_debug"])
    currency: Currency = "GBP"
    time_zone: TimeZone = "UTC"
    contact: Contact = ""
    privacy_notice: TextOfFile = Field("", alias="PRIVACY_NOTICE_PATH")
    django_allowed_hosts: Names = ["localhost", "127.0.0.1"]
    django_csrf_trusted_origins: Names = []
    eventstore_uri: Annotated[str, _begins_with("esdb", "esdb+discover")] = (
        "esdb://127.0.0.1:2113?tls=false"
    )
    database: Database = Field(
        default_factory=lambda data: _sqlite_in(data["lepret_data_dir"]), alias="DATABASE_URL"
    )
    readmodels_database: Database | None = Field(None, alias="READMODELS_DATABASE_URL")
    redis_url: Annotated[str, _begins_with("redis", "rediss", "unix")] = "redis://127.0.0.1:6379/0"
    credit_bureau_url: Annotated[UrlWithHost, _begins_with("http", "https")] | None = None
    credit_bureau_latency_seconds: Seconds = 0.1
    readyz_max_lag_seconds: Seconds | None = None
    monitoring_token: Token | None = None
    monitoring_networks: Networks = list(_LOOPBACK)
    session_hours: Lifetime = 12
    session_idle_minutes: Lifetime = 60
    staff_second_factor: Annotated[
        Literal["optional", "required"], _must("be optional or required")
    ] = "optional"
    oidc_issuer: Issuer | None = None
    oidc_client_id: Annotated[
        str, AfterValidator(_is_set_with_issuer), _must("be set where OIDC_ISSUER is")
    ] = Field("", validate_default=True)
    oidc_client_secret: str = ""
    oidc_name: str = "your company account"
    oidc_scopes: str = "openid profile"
    oidc_username_claim: str = "preferred_username"
    oidc_groups_claim: str = "groups"
    oidc_underwriters_group: str = ""
    oidc_leads_group: str = ""
    oidc_policy_group: str = ""
    oidc_back_office_group: Annotated[
        str,
        AfterValidator(_maps_a_group_with_issuer),
        _must(
            "be set where OIDC_ISSUER is, unless OIDC_UNDERWRITERS_GROUP or OIDC_POLICY_GROUP is"
        ),
    ] = Field("", validate_default=True)
    oidc_second_factor: Flag = False
    password_login: Annotated[
        bool,
        AfterValidator(_needs_issuer),
        _must("be true or, if OIDC_ISSUER is set, may be false"),
    ] = True
    api_rate: RateOrNone = Rate(600, 60)
    api_anonymous_rate: RateOrNone = Rate(600, 60)
    applications_per_address: RateOrNone = Rate(30, 3600)
    applications_per_national_id: RateOrNone = Rate(10, 86_400)
    lookups_per_address: RateOrNone = Rate(30, 900)
    lookups_per_number: RateOrNone = Rate(10, 900)
    web_request_seconds: SomeSeconds = 30.0
    web_connections_per_address: Many = 256
    web_sockets_per_address: Many = 100
    # The second name is the one that it had while only the API counted its callers.
    web_proxies: Count = Field(0, validation_alias=AliasChoices("WEB_PROXIES", "API_PROXIES"))

    @classmethod
    def variables(cls) -> tuple[str, ...]:
        """The names of all variables, also those that they had before."""
        return tuple(name for field in cls.model_fields.values() for name in _names_of(field))

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read files too. (pydantic-settings' own secrets are a directory with fixed names.)"""
        return init_settings, _VariablesAndFiles(settings_cls), dotenv_settings

    @classmethod
    def read(cls, base_dir: Path) -> Environment:
        """Read the environment and, for variables missing there, the file of a running demo.

        The demo writes the addresses of what it started into its data directory, so that
        `manage.py rebuild` in a second terminal finds the same services.

        Raises:
            ImproperlyConfigured: a variable has a bad value; the message names the variable.
        """
        data_dir = Path(variables_given().get("LEPRET_DATA_DIR") or base_dir / ".lepret")
        try:
            return cls(_env_file=data_dir / DEMO_ENVIRONMENT_FILE, LEPRET_DATA_DIR=data_dir)
        except ValidationError as error:
            first = error.errors(include_input=False)[0]
            name = str(first["loc"][0]).upper()  # The field's own if its variable is not set.
            raise ImproperlyConfigured(f"{name} must {first['msg']}") from None
        except OSError as error:
            raise ImproperlyConfigured(
                f"LEPRET_DATA_DIR must name a directory that can be used ({error.strerror})"
            ) from None
