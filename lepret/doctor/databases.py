"""Whether each database answers and can be written, and whether the migrations are applied."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from django.db import DEFAULT_DB_ALIAS, Error, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.executor import MigrationExecutor

from lepret.common.databases import connection_outside_the_pool
from lepret.doctor.places import Place
from lepret.doctor.report import SECONDS_FOR_AN_ANSWER, Trouble

_IN_MEMORY: Final = ":memory:"
_POSTGRESQL_PORT: Final = 5432

# Whether the role may write any table; NULL if there are none. The web server and the projector
# have rights to different ones.
_MAY_WRITE: Final = """
    SELECT bool_or(has_table_privilege(oid, 'INSERT')) FROM pg_class
    WHERE relkind = 'r'
    AND relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
"""

# What PostgreSQL, libpq and psycopg say of a failed connection, for which they have no codes.
_IN_WORDS: Final[tuple[tuple[str, str], ...]] = (
    (
        "password authentication failed|authentication failed for user",
        "PostgreSQL at {place} refuses the password of {user}: correct it in {variable}, or there",
    ),
    (
        "no password supplied",
        "PostgreSQL at {place} wants a password for {user}, and {variable} has none",
    ),
    (
        "role .* does not exist|role .* is not permitted",
        "PostgreSQL at {place} lets no {user} in: correct {variable}, or make that role",
    ),
    (
        "database .* does not exist",
        "PostgreSQL at {place} has no database {name}: create it, or correct {variable}",
    ),
    (
        "no pg_hba.conf entry|pg_hba.conf rejects",
        (
            "PostgreSQL at {place} lets no {user} into {name} from here, or not without TLS: see "
            "its pg_hba.conf, and ?sslmode=verify-full in {variable}"
        ),
    ),
    (
        "permission denied for database",
        "{user} may not connect to {name} at {place}: grant CONNECT, or correct {variable}",
    ),
    (
        "too many clients|connection slots|too many connections",
        "PostgreSQL at {place} has no connection left: end some, or raise max_connections",
    ),
    (
        "starting up|shutting down|recovery mode|not accepting connections",
        "PostgreSQL at {place} is starting or stopping: wait, and see its log",
    ),
    (
        "root certificate file|could not read certificate|private key file",
        "a certificate file that {variable} names cannot be read: correct sslrootcert",
    ),
    (
        "No space left|disk is full|could not extend file",
        "the disk of the database {name} at {place} is full: make room",
    ),
    (
        "unable to open database file",
        (
            "{name} cannot be opened: see that its directory exists and may be written, or correct "
            "{variable}"
        ),
    ),
    (
        "readonly database|read-only",
        "{name} cannot be written: see who owns the file and its directory, or the disk",
    ),
    ("is locked", "another process has been writing {name} for seconds: see which"),
    (
        "not a database|malformed|disk I/O",
        "{name} is damaged, or no database: restore it, or correct {variable}",
    ),
)


def variable_of(alias: str) -> str:
    """The variable that names a database of the settings."""
    return "DATABASE_URL" if alias == DEFAULT_DB_ALIAS else "READMODELS_DATABASE_URL"


def answers_and_can_be_written(alias: str) -> str:
    """See that a database answers, and that its tables can be written.

    Raises:
        Trouble: it does not, or they cannot.
    """
    if is_in_memory(alias):
        return "none: this process is configured to use no database"
    with _connected(alias) as connection:
        if connection.vendor == "sqlite":
            return _sqlite(connection)
        return _postgresql(connection, variable_of(alias))


def migrations_are_applied(aliases: Iterable[str]) -> str:
    """See that databases have the tables of this version of the program.

    Raises:
        Trouble: a database has not, or does not answer.
    """
    used = [alias for alias in aliases if not is_in_memory(alias)]
    for alias in used:
        missing = _missing_migrations(alias)
        if missing:
            option = "" if alias == DEFAULT_DB_ALIAS else f" --database {alias}"
            raise Trouble(
                f"{len(missing)} not applied to the database of {variable_of(alias)}, first "
                f"{missing[0]}: run python manage.py migrate{option}"
            )
    return "all are applied" if used else "none: this process is configured to use no database"


def time_at(alias: str) -> datetime:
    """What time it is at a PostgreSQL database.

    Raises:
        Trouble: it does not answer.
    """
    with _connected(alias) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        moment: datetime = cursor.fetchone()[0]
    return moment


def has_a_clock(alias: str) -> bool:
    """Whether a database may be on another machine."""
    return connections[alias].vendor == "postgresql"


def is_in_memory(alias: str) -> bool:
    """Whether a database is none: processes that use no database have it in their memory."""
    return str(connections[alias].settings_dict["NAME"]) == _IN_MEMORY


@contextmanager
def _connected(alias: str) -> Iterator[BaseDatabaseWrapper]:
    """A connection; errors of the database are raised as `Trouble`."""
    variable = variable_of(alias)
    with closing(connection_outside_the_pool(alias)) as connection:
        if connection.vendor == "sqlite":
            _refuse_to_make(Path(connection.settings_dict["NAME"]), variable)
            connection.settings_dict["OPTIONS"]["timeout"] = SECONDS_FOR_AN_ANSWER
        else:
            _place(connection, variable)
        try:
            yield connection
        except Error as error:
            raise _trouble_of(error, connection, variable) from None


def _refuse_to_make(file: Path, variable: str) -> None:
    # SQLite would make an empty one.
    if not file.exists():
        raise Trouble(f"there is no {file}: run python manage.py migrate, or correct {variable}")


def _place(connection: BaseDatabaseWrapper, variable: str) -> Place:
    given = connection.settings_dict
    host, port = given["HOST"] or "localhost", given["PORT"] or _POSTGRESQL_PORT
    place = Place("PostgreSQL", variable, host, port)
    Place("PostgreSQL", variable, given["NAME"])  # Which may be the end of a password.
    return place


def _user(connection: BaseDatabaseWrapper) -> str:
    return connection.settings_dict["USER"] or "this process's own user"


def _sqlite(connection: BaseDatabaseWrapper) -> str:
    with connection.cursor() as cursor:
        cursor.execute("BEGIN IMMEDIATE")
        cursor.execute("ROLLBACK")
        cursor.execute("SELECT sqlite_version()")
        return f"SQLite {cursor.fetchone()[0]} in {connection.settings_dict['NAME']}"


def _postgresql(connection: BaseDatabaseWrapper, variable: str) -> str:
    name, user = connection.settings_dict["NAME"], _user(connection)
    place = _place(connection, variable)
    if _first(connection, "SHOW transaction_read_only") == "on":
        raise Trouble(
            f"{name} at {place} can only be read: it is a standby, or read-only; name the primary "
            f"in {variable}"
        )
    if _first(connection, _MAY_WRITE) is False:
        raise Trouble(
            f"{user} may write no table of {name} at {place}: run python manage.py database_roles "
            "as their owner, or grant it the rights"
        )
    version = _first(connection, "SHOW server_version")
    return f"PostgreSQL {version} at {place}, {name} as {user}"


def _first(connection: BaseDatabaseWrapper, query: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchone()[0]


def _missing_migrations(alias: str) -> list[str]:
    with _connected(alias) as connection:
        executor = MigrationExecutor(connection)
        plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
        return [f"{each.app_label}.{each.name}" for each, _ in plan]


def _trouble_of(error: Error, connection: BaseDatabaseWrapper, variable: str) -> Trouble:
    text = str(error)
    given = connection.settings_dict
    is_sqlite = connection.vendor == "sqlite"
    place = Place("SQLite", variable, "this machine") if is_sqlite else _place(connection, variable)
    for pattern, words in _IN_WORDS:
        if re.search(pattern, text):
            named = {"place": place, "user": _user(connection), "name": given["NAME"]}
            return Trouble(words.format(variable=variable, **named))
    if (trouble := place.trouble_in(text)) is not None:
        return trouble
    kind = type(error.__cause__ or error).__qualname__
    return Trouble(f"{given['NAME']} at {place} cannot be used ({kind}): see the database's log")
