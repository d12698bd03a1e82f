"""Makes the keys, passwords and certificates of the services, each once.

    python -m lepret.deployment.keys [--renew NAME ...]

The masters are in one directory, which only this program sees. Each service has a directory of its
own with what it may know, and no more. Files in the directory `given` go before made ones.

What exists is kept, so that this may run before every start.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import secrets
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import quote

from lepret.deployment.certificates import (
    Certified,
    certificate_for,
    is_to_be_renewed,
    new_authority,
)
from lepret.environment import Environment

# Where each service finds its directory.
MOUNTED_AT: Final = "/run/keys"
DATABASE_NAME: Final = "lepret"
DATABASE_OWNER: Final = "lepret"

DJANGO_KEY, HMAC_KEY = "DJANGO_SECRET_KEY", "LEPRET_HMAC_KEY"
OWNER_PASSWORD: Final = "POSTGRES_PASSWORD"  # noqa: S105 (a name)
ADMIN_PASSWORD: Final = "EVENTSTORE_ADMIN_PASSWORD"  # noqa: S105
# Each is made by itself, and may be made anew.
RENEWABLE: Final = (
    DJANGO_KEY,
    "POSTGRES_WEB_PASSWORD",
    "POSTGRES_PROJECTOR_PASSWORD",
    "EVENTSTORE_OPS_PASSWORD",
    "EVENTSTORE_WEB_PASSWORD",
    "EVENTSTORE_PROJECTOR_PASSWORD",
    "EVENTSTORE_WORKERS_PASSWORD",
    "VALKEY_PASSWORD",
)
# Two servers take these at their very first start only, and data depends on the third for ever.
LASTING: Final = (HMAC_KEY, OWNER_PASSWORD, ADMIN_PASSWORD)
CERTIFICATES: Final = "certificates"
# Secrets that were in `.env` before: losing the old ones would lose data, or the way to it.
_ONCE_IN_ENV: Final = (DJANGO_KEY, HMAC_KEY, OWNER_PASSWORD)
# Settings that an operator may give as files, and who reads them. Any other is for web alone.
_READ_BY: Final = {
    "READMODELS_DATABASE_URL": ("web", "projector", "migrate"),
    "CREDIT_BUREAU_URL": ("web", "credit-checks"),
}

# Users of the images. Ours: see the Dockerfile.
_KURRENTDB, _POSTGRES, _VALKEY, _LEPRET = 1001, 999, 999, 10001

# Only TLS, only with a password; psql inside the container needs none.
_PG_HBA: Final = """\
local   all all     peer map=container
hostssl all all all scram-sha-256
"""
_PG_IDENT: Final = f"""\
container postgres {DATABASE_OWNER}
"""


class KeysRefused(Exception):
    """Nothing was changed; the message says in one line why, and what to do."""


@dataclass(frozen=True)
class Directories:
    """Where the masters are, the services' directories, and what the operator has given."""

    masters: Path
    services: Path
    given: Path


@dataclass(frozen=True)
class Share:
    """What one service may know: text by file name, readable for one user."""

    user: int
    files: Mapping[str, str]


def make_keys(
    directories: Directories,
    *,
    renew: Collection[str] = (),
    still_in_env: Collection[str] = (),
    now: datetime,
) -> list[str]:
    """Make what is missing, and give each service its share. Returns what was made or changed.

    Raises:
        KeysRefused: what is given does not fit.
    """
    given = _given(directories.given)
    made: list[str] = []
    _refuse_to_lose_keys(directories.masters, given, still_in_env)
    values = {
        name: _value(directories.masters / name, given.get(name), name in renew, made)
        for name in (*LASTING, *RENEWABLE)
    }
    certified = _certified(directories.masters, CERTIFICATES in renew, now, made)
    extra = {name: value for name, value in given.items() if name not in values}
    for service, share in _shares(values, certified, extra).items():
        _hand_out(share, directories.services / service)
    return made


def _given(directory: Path) -> dict[str, str]:
    known = {*LASTING, *RENEWABLE, *Environment.variables()}
    given = {}
    for file in sorted(directory.iterdir()) if directory.is_dir() else ():
        if file.name.startswith("."):
            continue
        if file.name not in known:
            raise KeysRefused(f".secrets/{file.name} is no secret's name: remove or rename it")
        given[file.name] = _checked(file.name, file.read_bytes())
    return given


def _checked(name: str, content: bytes) -> str:
    try:
        value = content.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise KeysRefused(f".secrets/{name} must be one line of text") from None
    if not value.strip() or re.search(r"[\x00-\x1f\x7f]", value):
        raise KeysRefused(f".secrets/{name} must be one line of text")
    # The event store's client takes passwords in its URI literally.
    if name.endswith("_PASSWORD") and not re.fullmatch(r"[A-Za-z0-9._~-]+", value):
        raise KeysRefused(f".secrets/{name} may hold letters, digits and . _ ~ - only")
    return value


def _refuse_to_lose_keys(
    masters: Path, given: Mapping[str, str], still_in_env: Collection[str]
) -> None:
    lost = [
        name
        for name in _ONCE_IN_ENV
        if name in still_in_env and name not in given and not (masters / name).exists()
    ]
    if lost:
        raise KeysRefused(
            f"{', '.join(lost)} must move from .env into .secrets/, or data would be lost: see "
            "docs/operations.md, From .env to secrets"
        )
    for name in LASTING:
        master = masters / name
        if name in given and master.exists() and given[name] != master.read_text():
            raise KeysRefused(
                f".secrets/{name} differs from the one in use, which must stay: remove the file"
            )


def _value(master: Path, given: str | None, is_renewed: bool, made: list[str]) -> str:
    old = master.read_text() if master.exists() else None
    if given is not None:
        value = given
    elif old is None or is_renewed:
        value = secrets.token_hex(32)
    else:
        return old
    if value != old:
        _write(master, value, user=None)
        made.append(master.name)
    return value


def _certified(
    masters: Path, all_anew: bool, now: datetime, made: list[str]
) -> dict[str, Certified]:
    authority = None if all_anew else _stored(masters, "authority")
    if authority is None:
        authority = new_authority(now)
        _store(masters, "authority", authority, made)
    certified = {"authority": authority}
    for host in ("eventstore", "postgres", "valkey"):
        server = _stored(masters, host)
        if server is None or is_to_be_renewed(server, authority, now):
            server = certificate_for(host, authority, now)
            _store(masters, host, server, made)
        certified[host] = server
    return certified


def _stored(masters: Path, name: str) -> Certified | None:
    file = masters / f"{name}.pem"
    if not file.exists():
        return None
    key, begin, certificate = file.read_text().partition("-----BEGIN CERTIFICATE-----")
    return Certified(key, begin + certificate)


def _store(masters: Path, name: str, certified: Certified, made: list[str]) -> None:
    # In one file, so that a crash cannot part them.
    _write(masters / f"{name}.pem", certified.key + certified.certificate, user=None)
    made.append(f"{name}.pem")


def _shares(
    values: Mapping[str, str], certified: Mapping[str, Certified], extra: Mapping[str, str]
) -> dict[str, Share]:
    authority = {"ca.crt": certified["authority"].certificate}

    def only(*names: str) -> dict[str, str]:
        return {name: values[name] for name in names}

    def server(host: str) -> dict[str, str]:
        return {"server.key": certified[host].key, "server.crt": certified[host].certificate}

    def events(user: str) -> dict[str, str]:
        password = values[f"EVENTSTORE_{user.removeprefix('lepret-').upper()}_PASSWORD"]
        return {
            "EVENTSTORE_URI": f"esdb://{user}:{password}@eventstore:2113"
            f"?tls=true&tlsCaFile={MOUNTED_AT}/ca.crt"
        }

    def database(user: str, password_name: str) -> dict[str, str]:
        password = quote(values[password_name], safe="")
        return {
            "DATABASE_URL": f"postgresql://{user}:{password}@postgres:5432/{DATABASE_NAME}"
            f"?sslmode=verify-full&sslrootcert={MOUNTED_AT}/ca.crt"
        }

    valkey = {
        "REDIS_URL": f"rediss://lepret:{values['VALKEY_PASSWORD']}@valkey:6379/0"
        f"?ssl_ca_certs={MOUNTED_AT}/ca.crt"
    }
    shares = {
        # KurrentDB trusts all certificates in a directory.
        "eventstore": Share(
            _KURRENTDB,
            {
                **server("eventstore"),
                "trusted/ca.crt": authority["ca.crt"],
                **only(ADMIN_PASSWORD, "EVENTSTORE_OPS_PASSWORD"),
            },
        ),
        "postgres": Share(
            _POSTGRES,
            {
                **server("postgres"),
                **only(OWNER_PASSWORD),
                "pg_hba.conf": _PG_HBA,
                "pg_ident.conf": _PG_IDENT,
            },
        ),
        "valkey": Share(
            _VALKEY,
            {**server("valkey"), **authority, "users.acl": valkey_users(values["VALKEY_PASSWORD"])},
        ),
        "event-store-users": Share(
            _LEPRET,
            {
                **authority,
                **only(ADMIN_PASSWORD, *(n for n in RENEWABLE if n.startswith("EVENTSTORE_"))),
            },
        ),
        "event-store-groups": Share(_LEPRET, {**authority, **events("ops")}),
        "migrate": Share(
            _LEPRET,
            {
                **authority,
                **database(DATABASE_OWNER, OWNER_PASSWORD),
                **only("POSTGRES_WEB_PASSWORD", "POSTGRES_PROJECTOR_PASSWORD"),
            },
        ),
        "web": Share(
            _LEPRET,
            {
                **authority,
                **only(DJANGO_KEY, HMAC_KEY),
                **database("lepret_web", "POSTGRES_WEB_PASSWORD"),
                **events("lepret-web"),
                **valkey,
            },
        ),
        "projector": Share(
            _LEPRET,
            {
                **authority,
                **database("lepret_projector", "POSTGRES_PROJECTOR_PASSWORD"),
                **events("lepret-projector"),
                **valkey,
            },
        ),
        "credit-checks": Share(_LEPRET, {**authority, **events("lepret-workers")}),
        "reservations": Share(_LEPRET, {**authority, **only(HMAC_KEY), **events("lepret-workers")}),
    }
    return {
        service: Share(
            share.user,
            {
                **share.files,
                **{n: v for n, v in extra.items() if service in _READ_BY.get(n, ("web",))},
            },
        )
        for service, share in shares.items()
    }


def valkey_users(password: str) -> str:
    """Valkey's users: one for the system, and one without a password that may ask for a PONG."""
    digest = hashlib.sha256(password.encode()).hexdigest()
    return (
        "user default on nopass resetkeys resetchannels -@all +ping\n"
        f"user lepret on #{digest} ~* &* +@all -@admin -@dangerous\n"
    )


def _hand_out(share: Share, directory: Path) -> None:
    wanted = {directory / name: text for name, text in share.files.items()}
    for folder in sorted({directory, *(file.parent for file in wanted)}):
        folder.mkdir(mode=0o700, exist_ok=True)
        folder.chmod(0o700)
        _give(folder, share.user)
    for file in [each for each in directory.rglob("*") if not each.is_dir()]:
        if file not in wanted:
            file.unlink()
    for file, text in wanted.items():
        _write(file, text, user=share.user)


def _write(file: Path, text: str, *, user: int | None) -> None:
    """Write a file in one step, readable for one user; `None`: the one who writes it."""
    unfinished = file.with_name(f".{file.name}.new")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400), "w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    if user is not None:
        _give(unfinished, user)
    unfinished.replace(file)


def _give(path: Path, user: int) -> None:
    if os.geteuid() == 0:  # Otherwise, in a test, all users are the same.
        os.chown(path, user, user)


def main() -> None:
    parser = argparse.ArgumentParser(prog="keys", description=__doc__)
    parser.add_argument("--masters", type=Path, default=Path("/keys/masters"))
    parser.add_argument("--services", type=Path, default=Path("/keys/services"))
    parser.add_argument("--given", type=Path, default=Path("/keys/given"))
    parser.add_argument(
        "--renew", nargs="+", default=[], choices=(CERTIFICATES, *RENEWABLE), metavar="NAME"
    )
    options = parser.parse_args()
    still_in_env = [name for name in _ONCE_IN_ENV if os.environ.get(f"{name}_IS_IN_ENV")]
    try:
        made = make_keys(
            Directories(options.masters, options.services, options.given),
            renew=options.renew,
            still_in_env=still_in_env,
            now=datetime.now(UTC),
        )
    except KeysRefused as refusal:
        sys.exit(str(refusal))
    for name in made:
        sys.stdout.write(f"made {name}\n")
    sys.stdout.write("keys are ready\n")


if __name__ == "__main__":
    main()
