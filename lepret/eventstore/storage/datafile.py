"""The data file: created, checked and locked before anything is read from it.

While a server runs, and after it was killed, the file has a write-ahead log beside it, and its
header says so; a server that ends in order leaves the file alone, in SQLite's other mode. So the
header tells a whole file from one that lacks its log.
"""

import contextlib
import fcntl
import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lepret.eventstore.storage.acknowledged import acknowledged_position, forget_acknowledged
from lepret.eventstore.storage.files import PRIVATE, SUFFIXES, beside, sync_folder

APPLICATION_ID = 0x6C657072
"""Marks a SQLite file as an event store's; "lepr" in ASCII."""

FORMAT = 2
"""The version of the tables, kept in SQLite's user_version."""

_OLDER_FORMAT = 1
"""Without `scavenged`; always in the mode with a write-ahead log."""

_SQLITE_MAGIC = b"SQLite format 3\0"
_HEADER_SIZE = 100
_LOG_MODE = 2
_FULL_CHECK_BELOW = 32 * 1024 * 1024

# `frame` holds the event as the response that reads send (`Record.response`).
_SCHEMA = """
CREATE TABLE events (
    position INTEGER PRIMARY KEY,
    stream TEXT NOT NULL,
    revision INTEGER NOT NULL,
    type TEXT NOT NULL,
    id BLOB NOT NULL,
    created INTEGER NOT NULL,
    frame BLOB NOT NULL
);
CREATE UNIQUE INDEX events_by_stream ON events (stream, revision);
CREATE INDEX events_by_id ON events (id);
"""
# How many events were removed: as many positions are missing.
_COUNT_SCAVENGED = """
CREATE TABLE scavenged (events INTEGER NOT NULL);
INSERT INTO scavenged SELECT ifnull(max(position), 0) - count(*) FROM events;
"""

logger = logging.getLogger(__name__)


class DataFileError(Exception):
    """The file cannot be used; the message is one line for the operator."""


class EventsMissing(DataFileError):
    """The file holds less than was acknowledged."""


class DataFileInUse(DataFileError):
    """Another process has locked the file."""


@contextmanager
def lock_data_file(path: Path, *, shared: bool = False) -> Iterator[None]:
    """Keep other processes from writing the file while the block runs.

    A shared lock keeps a server from starting, and lets others read. The operating system frees the
    lock however the process ends. A foreign file and its folder are not touched; ours are made
    private. Raises DataFileError, DataFileInUse.
    """
    try:
        _refuse_foreign(path)
        descriptor = os.open(beside(path, ".lock"), os.O_RDWR | os.O_CREAT, PRIVATE)
    except OSError as error:
        raise DataFileError(f"{path} cannot be opened: {error.strerror}") from error
    with os.fdopen(descriptor):
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except OSError:
            raise DataFileInUse(
                f"{path} is in use by another event store, or is being backed up or verified"
            ) from None
        _make_private(path)
        yield


def prepare_data_file(path: Path, *, accept_loss: bool = False) -> None:
    """Create the file if it is absent or empty, else check it. Needs the lock.

    With ``accept_loss``, go on from what the file holds, if acknowledged events are missing.
    Raises DataFileError for a file that cannot be used, and leaves that unchanged.
    """
    try:
        if accept_loss:
            _accept_loss(path)
        else:
            refuse_missing_events(path)
        if _is_absent(path):
            _create(path)
        _refuse_corrupt(path)
        _bring_up_to_date(path)
    except sqlite3.Error as error:
        raise DataFileError(f"{path} is corrupt: {error}") from error
    except OSError as error:
        raise DataFileError(f"{path} cannot be opened: {error.strerror}") from error


def connect(path: Path, *, writable: bool = False) -> sqlite3.Connection:
    """A connection without implicit transactions; a commit is on disk when it returns."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA busy_timeout = 5000")
    if not writable:
        connection.execute("PRAGMA query_only = ON")
    return connection


def connect_to_read(path: Path, *, without_log: bool = False) -> sqlite3.Connection:
    """A connection that changes nothing, not even by its end; also while a server writes."""
    immutable = "&immutable=1" if without_log else ""
    uri = f"{path.as_uri()}?mode=ro{immutable}"
    return sqlite3.connect(uri, uri=True, isolation_level=None)


def leave_log(connection: sqlite3.Connection) -> None:
    """Move the write-ahead log into the file, and say in its header that this is all.

    If another process reads the file, the log stays, for the next start.
    """
    connection.execute("PRAGMA busy_timeout = 300")
    with contextlib.suppress(sqlite3.OperationalError):
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        connection.execute("PRAGMA journal_mode = DELETE").fetchall()


def refuse_missing_events(path: Path) -> None:
    """Raises EventsMissing if the file holds less than was acknowledged. Needs the lock.

    Or if it may: then it was copied without its write-ahead log. sqlite3.Error if it is corrupt.
    """
    acknowledged = acknowledged_position(path)
    name = path.name
    if _is_absent(path):
        if acknowledged or _has_log(path):
            raise _missing(path, f"{name} itself is gone")
        return
    _roll_back(path)
    _refuse_truncated(path)
    has_own_log = _is_in_log_mode(path) and _has_log(path)
    head = _head(path, without_log=not has_own_log)
    if acknowledged is not None:
        if head < acknowledged:
            raise _missing(path, f"{name} ends at position {head}, they at {acknowledged}")
    elif has_own_log or _format(path) == _OLDER_FORMAT:
        return
    elif _has_log(path):
        raise _missing(path, f"{name}-wal does not belong to {name}")
    elif _is_in_log_mode(path):
        raise _missing(path, f"{name} was copied while it was in use, without its {name}-wal")


def _missing(path: Path, what: str) -> EventsMissing:
    return EventsMissing(
        f"{path} lacks acknowledged events: {what}. Put back the newest {path.name} with the"
        f" {path.name}-wal that was beside it, or a backup; or start once with --accept-loss,"
        " without them"
    )


def _accept_loss(path: Path) -> None:
    try:
        refuse_missing_events(path)
    except EventsMissing as loss:
        logger.warning("accepted: %s", str(loss).partition(". ")[0])
        forget_acknowledged(path)
    _set_foreign_log_aside(path)


def _set_foreign_log_aside(path: Path) -> None:
    """SQLite would apply any log that it finds beside the file."""
    if _has_log(path) and (_is_absent(path) or not _is_in_log_mode(path)):
        beside(path, "-wal").replace(beside(path, "-wal.unused"))
        beside(path, "-shm").unlink(missing_ok=True)


def _is_absent(path: Path) -> bool:
    return not path.exists() or path.stat().st_size == 0


def _has_log(path: Path) -> bool:
    log = beside(path, "-wal")
    return log.exists() and log.stat().st_size > 0


def _header(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEADER_SIZE)


def _is_in_log_mode(path: Path) -> bool:
    return _header(path)[18] == _LOG_MODE


def _format(path: Path) -> int:
    return int.from_bytes(_header(path)[60:64])


def _roll_back(path: Path) -> None:
    """Undo what a process that was killed while it changed the mode has left half done."""
    journal = beside(path, "-journal")
    if journal.exists() and journal.stat().st_size > 0:
        with contextlib.closing(connect(path, writable=True)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchall()


def _head(path: Path, *, without_log: bool) -> int:
    with contextlib.closing(connect_to_read(path, without_log=without_log)) as connection:
        (head,) = connection.execute("SELECT max(position) FROM events").fetchone()
    return head or 0


def _make_private(path: Path) -> None:
    """Only the owner may read what was written with other permissions, by an older version or tool.

    Raises DataFileError.
    """
    for file in (beside(path, suffix) for suffix in SUFFIXES):
        try:
            if file.exists() and file.stat().st_mode & 0o077:
                file.chmod(PRIVATE)
        except OSError as error:
            raise DataFileError(
                f"{file} can be read by others, and cannot be made private: {error.strerror}"
            ) from error


def _refuse_foreign(path: Path) -> None:
    if not path.exists():
        return
    if not path.is_file():
        raise DataFileError(f"{path} is not a file")
    header = _header(path)
    if not header:
        return
    if not header.startswith(_SQLITE_MAGIC) or len(header) < _HEADER_SIZE:
        raise DataFileError(f"{path} is not an event store's data file")
    if int.from_bytes(header[68:72]) != APPLICATION_ID:
        raise DataFileError(f"{path} is a SQLite file, but not an event store's")
    if int.from_bytes(header[60:64]) not in {_OLDER_FORMAT, FORMAT}:
        raise DataFileError(f"{path} has a format that this version does not know")


def _create(path: Path) -> None:
    """Create the file under another name first: it appears complete or not at all."""
    draft = beside(path, ".new")
    draft.unlink(missing_ok=True)
    os.close(os.open(draft, os.O_CREAT | os.O_EXCL, PRIVATE))
    connection = connect(draft, writable=True)
    try:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {FORMAT}")
        connection.executescript(_SCHEMA + _COUNT_SCAVENGED)
    finally:
        connection.close()
    draft.replace(path)
    sync_folder(path.parent)


def _refuse_corrupt(path: Path) -> None:
    """Check all of a small file, and the newest events of a large one.

    Only reads: a file that is refused is not changed.
    """
    _refuse_truncated(path)
    connection = connect_to_read(path)
    try:
        connection.execute(
            "SELECT max(position), count(frame) FROM (SELECT position, frame"
            " FROM events ORDER BY position DESC LIMIT 100)"
        ).fetchone()
        if path.stat().st_size < _FULL_CHECK_BELOW:
            (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if verdict != "ok":
                raise DataFileError(f"{path} is corrupt: {' '.join(verdict.split())}")
        if _has_log(path) and _format(path) == FORMAT:
            _refuse_mixed(connection, path)
    finally:
        connection.close()


def _refuse_mixed(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse a file whose write-ahead log is an earlier or a later one's: events are missing.

    Counted in an index, which takes some hundredths of a second for a million.
    """
    events, expected = connection.execute(
        "SELECT (SELECT count(*) FROM events INDEXED BY events_by_id),"
        " (SELECT max(position) FROM events) - (SELECT events FROM scavenged)"
    ).fetchone()
    if events != expected:
        raise DataFileError(
            f"{path} is corrupt: it has {events} of {expected} events; {path.name}-wal may be"
            " another one's"
        )


def _bring_up_to_date(path: Path) -> None:
    if _format(path) == FORMAT:
        return
    with contextlib.closing(connect(path, writable=True)) as connection:
        connection.executescript(
            f"BEGIN IMMEDIATE; {_COUNT_SCAVENGED} PRAGMA user_version = {FORMAT}; COMMIT"
        )
        leave_log(connection)


def _refuse_truncated(path: Path) -> None:
    """Refuse a file that is shorter than its header says, unless the rest is in the WAL."""
    if _has_log(path):
        return
    header = _header(path)
    page_size = int.from_bytes(header[16:18])
    if page_size == 1:
        page_size = 65536
    if path.stat().st_size < page_size * int.from_bytes(header[28:32]):
        raise DataFileError(f"{path} is corrupt: it is shorter than it should be")
