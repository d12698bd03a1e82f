"""A list of all checkpoint moves, kept by the read models' database itself.

A trigger writes it in the transaction that moves the checkpoint: so the list has exactly what was
committed. Only processes of `tests.support.fork_server` may then move checkpoints, since they
define `process_name()`, which SQLite's trigger calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.db import connections


@dataclass(frozen=True)
class Commit:
    """A projection's checkpoint moved from `after` to `position`.

    `at` is when its transaction began, in seconds since 1970.
    """

    name: str
    after: int
    position: int
    process: str
    at: float


_TABLE: Final = """
    CREATE TABLE commits (
        number {numbered}, name text, after bigint, position bigint, process text, at {float}
    )
"""

_SQLITE: Final = (
    _TABLE.format(numbered="integer PRIMARY KEY", float="real"),
    """
    CREATE TRIGGER note_commit AFTER UPDATE OF position ON readmodels_checkpoint BEGIN
        INSERT INTO commits (name, after, position, process, at) VALUES (
            NEW.name, OLD.position, NEW.position, process_name(),
            (julianday('now') - 2440587.5) * 86400
        );
    END
    """,
)

_POSTGRESQL: Final = (
    _TABLE.format(numbered="bigserial", float="double precision"),
    """
    CREATE FUNCTION note_commit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO commits (name, after, position, process, at) VALUES (
            NEW.name, OLD.position, NEW.position, current_setting('application_name'),
            extract(epoch FROM clock_timestamp())
        );
        RETURN NEW;
    END $$
    """,
    """
    CREATE TRIGGER note_commit AFTER UPDATE OF position ON readmodels_checkpoint
    FOR EACH ROW EXECUTE FUNCTION note_commit()
    """,
)


def keep_a_list_of_commits(alias: str) -> None:
    """Create the list and its trigger in the database of that alias."""
    connection = connections[alias]
    with connection.cursor() as cursor:
        for statement in _SQLITE if connection.vendor == "sqlite" else _POSTGRESQL:
            cursor.execute(statement)


def commits(alias: str) -> Sequence[Commit]:
    """All commits; those of one projection are in their order."""
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT name, after, position, process, at FROM commits ORDER BY number")
        rows: Sequence[tuple[Any, ...]] = cursor.fetchall()
    return [Commit(*row) for row in rows]
