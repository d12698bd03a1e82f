"""Which databases are a demo's own: those that were empty when a demo first used them.

A demo makes accounts in its database, and a projector fills its tables. In a database that serves
others, that would let strangers in and mix made-up loan requests with true ones.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from django.db import connections

from lepret.demo.passwords import is_a_demos
from lepret.environment import database_settings

# A demo makes this table in its databases. Backups of these have it, too.
MARK: Final = "made_by_a_lepret_demo"
_TABLES_IN: Final = {
    "sqlite3": "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
    "postgresql": "SELECT tablename FROM pg_tables "
    "WHERE schemaname NOT IN ('pg_catalog', 'information_schema')",
}
_SECONDS_TO_CONNECT: Final = 5
_PROJECT: Final = Path(__file__).resolve().parents[2]


class DatabaseRefused(Exception):
    """A database cannot be a demo's; the message says why and what to do, in one line."""


def refuse_others_databases(urls: Mapping[str, str]) -> None:
    """Look, without a change, whether the databases at `urls`, by variable, are a demo's or empty.

    Raises:
        DatabaseRefused: one of them is not, or it cannot be looked into.
    """
    for variable, url in urls.items():
        try:
            reason = _why_not(url)
        except Exception as error:  # noqa: BLE001 (of any driver; it may quote a password)
            kind = type(error).__qualname__
            problem = f"{variable}: the database cannot be looked into ({kind})"
            raise DatabaseRefused(problem) from None
        if reason:
            raise DatabaseRefused(
                f"{variable} names a database that is not a demo's ({reason}), and a demo makes "
                "accounts with known passwords; name an empty one, or none"
            )


def mark(alias: str) -> None:
    """Mark a database of the settings as a demo's, unless it is."""
    with connections[alias].cursor() as cursor:
        cursor.execute(f"CREATE TABLE IF NOT EXISTS {MARK} (version integer)")


def is_marked(alias: str) -> bool:
    """Whether a database of the settings was made by a demo."""
    return MARK in connections[alias].introspection.table_names()


def _why_not(url: str) -> str:
    """Why the database cannot be a demo's; empty if it can."""
    database = database_settings(url)
    engine = database["ENGINE"].rpartition(".")[2]
    file = _PROJECT / database["NAME"]  # The demo's processes run there.
    if engine == "sqlite3" and not _has_content(file):
        return ""
    with _reading(engine, url, file) as connection:
        tables = sorted(name for (name,) in connection.execute(_TABLES_IN[engine]).fetchall())
        if not tables:
            return ""
        if MARK not in tables:
            return f"it has tables, {tables[0]} for one"
        if "auth_user" not in tables:
            return ""
        passwords = connection.execute("SELECT password FROM auth_user").fetchall()
        # It was a demo's once, and somebody has used it in earnest since.
        return "" if all(is_a_demos(each) for (each,) in passwords) else "others have accounts"


def _has_content(file: Path) -> bool:
    return file.is_file() and file.stat().st_size > 0


@contextmanager
def _reading(engine: str, url: str, file: Path) -> Iterator[Any]:
    if engine == "sqlite3":
        with closing(sqlite3.connect(f"file:{quote(str(file))}?mode=ro", uri=True)) as connection:
            yield connection
        return
    import psycopg  # noqa: PLC0415 (slow, and SQLite does not need it)

    with psycopg.connect(url, connect_timeout=_SECONDS_TO_CONNECT) as connection:
        connection.read_only = True
        yield connection
