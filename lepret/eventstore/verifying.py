"""``python -m lepret.eventstore --verify``: is the data file whole, and what does it hold?

A server may use the file meanwhile: what it held at one moment is looked at.
"""

import contextlib
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from esdbclient.protos.Grpc import streams_pb2
from google.protobuf.message import DecodeError

from lepret.eventstore.storage.datafile import (
    DataFileError,
    DataFileInUse,
    connect_to_read,
    lock_data_file,
    refuse_missing_events,
)
from lepret.eventstore.storage.stream_state import TOMBSTONE_REVISION


class Holding(NamedTuple):
    """What a data file holds."""

    events: int
    streams: int
    head: int
    """The position of the last event."""

    def __str__(self) -> str:
        return (
            f"{self.events:,} events in {self.streams:,} streams, the last at position {self.head}"
        )


@contextmanager
def snapshot(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that sees the file as it is now, and keeps no server from writing.

    Without a server, it keeps one from starting. Raises DataFileError, such as EventsMissing.
    """
    if not path.exists():
        raise DataFileError(f"{path} does not exist")
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(lock_data_file(path, shared=True))
        except DataFileInUse:
            pass  # The server that uses it has looked whether it is whole.
        else:
            refuse_missing_events(path)
        connection = stack.enter_context(contextlib.closing(connect_to_read(path)))
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
        yield connection


def verify_file(path: Path) -> Holding:
    """Check all of a data file.

    Raises:
        DataFileError: the file is absent, foreign, or not whole; the message says what is wrong.
        sqlite3.Error: it is corrupt.
    """
    with snapshot(path) as connection:
        holding = verify(connection, path)
        _refuse_wrong_frames(connection, path)
        return holding


def holding_of(connection: sqlite3.Connection) -> Holding:
    """What a file holds, counted."""
    return Holding._make(
        connection.execute(
            "SELECT count(*), count(DISTINCT stream), ifnull(max(position), 0) FROM events"
        ).fetchone()
    )


def verify(connection: sqlite3.Connection, path: Path) -> Holding:
    """Check the pages, the indexes, and that no position and no revision is missing.

    Raises DataFileError, sqlite3.Error.
    """
    (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if verdict != "ok":
        raise DataFileError(f"{path} is corrupt: {' '.join(verdict.split())}")
    holding = holding_of(connection)
    removed = _scavenged(connection)
    if removed is None:  # By an older version, which did not count.
        return holding
    if (missing := holding.head - holding.events - removed) != 0:
        raise DataFileError(f"{path} is not whole: {missing} positions have no event")
    streams, revisions = _gaps(connection)
    if revisions > removed:
        raise DataFileError(
            f"{path} is not whole: {revisions - removed} revisions are missing in {streams} streams"
        )
    return holding


def _scavenged(connection: sqlite3.Connection) -> int | None:
    try:
        (events,) = connection.execute("SELECT events FROM scavenged").fetchone()
    except sqlite3.OperationalError:
        return None
    return int(events)


def _gaps(connection: sqlite3.Connection) -> tuple[int, int]:
    """How many streams lack revisions, and how many they lack."""
    streams, revisions = connection.execute(
        "SELECT count(*), ifnull(sum(missing), 0) FROM ("
        " SELECT max(revision) + 1 - count(*) AS missing FROM events WHERE revision < ?"
        " GROUP BY stream HAVING missing > 0)",
        (TOMBSTONE_REVISION,),
    ).fetchone()
    return streams, revisions


def _refuse_wrong_frames(connection: sqlite3.Connection, path: Path) -> None:
    """What reads send must be what the columns say. Raises DataFileError."""
    rows = connection.execute("SELECT position, stream, revision, type, id, frame FROM events")
    for *columns, frame in rows:
        if _described(frame) != columns:
            raise DataFileError(
                f"{path} is corrupt: the event at position {columns[0]} is not what it should be"
            )


def _described(frame: bytes) -> list[object]:
    try:
        event = streams_pb2.ReadResp.FromString(frame).event.event
        return [
            event.commit_position,
            event.stream_identifier.stream_name.decode(),
            event.stream_revision,
            event.metadata["type"],
            UUID(event.id.string).bytes,
        ]
    except (DecodeError, ValueError):
        return []
