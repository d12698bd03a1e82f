"""``python -m lepret.eventstore.scavenge``: remove hidden events from a file for good.

No server may use the file. Removed are the events that the streams' metadata hide: beyond
``$maxCount``, older than ``$maxAge``, before ``$tb``, all but the last of a deleted stream, and
those before a tombstone; besides, the empty records of appends of no events. A stream's last event
always stays: revisions and positions go on from it.
"""

import argparse
import sqlite3
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from lepret.eventstore.storage.datafile import (
    DataFileError,
    connect,
    leave_log,
    lock_data_file,
    prepare_data_file,
)
from lepret.eventstore.storage.records import NO_NAME
from lepret.eventstore.storage.stream_state import TOMBSTONE_REVISION, StreamState


class Scavenged(NamedTuple):
    """The result of a scavenge."""

    events: int
    """How many were removed."""
    size: int
    """By how many bytes the file shrank."""


def main(argv: Sequence[str] | None = None) -> int:
    """Scavenge with these arguments, by default those of the command line.

    Returns the exit status: 1 when the file cannot be scavenged.
    """
    path = _arguments(argv).data.resolve()
    try:
        scavenged = scavenge_file(path)
    except DataFileError as error:
        sys.stderr.write(f"lepret.eventstore.scavenge: {error}\n")
        return 1
    except sqlite3.Error as error:
        sys.stderr.write(f"lepret.eventstore.scavenge: {path} could not be scavenged: {error}\n")
        return 1
    sys.stdout.write(
        f"removed {scavenged.events:,} events, gave back {scavenged.size:,} bytes ({path})\n"
    )
    return 0


def scavenge_file(path: Path) -> Scavenged:
    """Scavenge a data file. A crash meanwhile does not damage it.

    Raises:
        DataFileError: the file is absent, foreign, corrupt, or in use by a server.
        sqlite3.Error: the disk is full, for example.
    """
    if not path.exists():
        raise DataFileError(f"{path} does not exist")
    with lock_data_file(path):
        prepare_data_file(path)
        before = path.stat().st_size
        connection = connect(path, writable=True)
        try:
            events = _remove_hidden(connection, now=time.time_ns() // 100)
            connection.execute("VACUUM")
            leave_log(connection)
        finally:
            connection.close()
        return Scavenged(events, before - path.stat().st_size)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m lepret.eventstore.scavenge",
        description="Remove for good the events that can no longer be read. Stop the server first.",
    )
    parser.add_argument("--data", type=Path, required=True, metavar="FILE")
    return parser.parse_args(argv)


def _remove_hidden(connection: sqlite3.Connection, now: int) -> int:
    """Remove the hidden events in one transaction. Returns how many there were."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        removed = sum(
            _remove_from(StreamState(connection, stream), connection, now)
            for stream in list(_streams_to_check(connection))
        )
        connection.execute("UPDATE scavenged SET events = events + ?", (removed,))
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    return removed


def _streams_to_check(connection: sqlite3.Connection) -> Iterator[str]:
    """The streams that have metadata or a tombstone, the metastreams, and the empty records'."""
    rows = connection.execute(
        "SELECT stream FROM events WHERE stream >= '$$' AND stream < '$%'"
        " UNION SELECT substr(stream, 3) FROM events WHERE stream >= '$$' AND stream < '$%'"
        " UNION SELECT stream FROM events WHERE revision = ?"
        " UNION SELECT ?",
        (TOMBSTONE_REVISION, NO_NAME),
    )
    return (stream for (stream,) in rows)


def _remove_from(state: StreamState, connection: sqlite3.Connection, now: int) -> int:
    if state.last_revision is None:
        return 0
    first = state.metadata.first_revision(state.last_revision)
    if state.is_tombstoned or state.stream == NO_NAME:
        first = TOMBSTONE_REVISION
    removed = connection.execute(
        "DELETE FROM events WHERE stream = ? AND revision < ? AND (revision < ? OR created < ?)",
        (state.stream, state.last_revision, first, state.metadata.oldest(now)),
    )
    return removed.rowcount


if __name__ == "__main__":
    sys.exit(main())
