"""The data file: created, checked and locked before anything is read from it."""

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

APPLICATION_ID = 0x6C657072
"""Marks a SQLite file as an event store's; "lepr" in ASCII."""

FORMAT = 1
"""The version of the tables, kept in SQLite's user_version."""

_PRIVATE = 0o600
_FILES = ("", "-wal", "-shm", "-journal", ".lock", ".new")
"""What is beside a data file; SQLite gives its own the permissions of the file."""

_SQLITE_MAGIC = b"SQLite format 3\0"
_HEADER_SIZE = 100
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


class DataFileError(Exception):
    """The file cannot be used; the message is one line for the operator."""


@contextmanager
def lock_data_file(path: Path) -> Iterator[None]:
    """Keep other processes from writing the file while the block runs.

    The operating system frees the lock however the process ends. A foreign file and its folder
    are not touched; ours are made private. Raises DataFileError.
    """
    try:
        _refuse_foreign(path)
        descriptor = os.open(_beside(path, ".lock"), os.O_RDWR | os.O_CREAT, _PRIVATE)
    except OSError as error:
        raise DataFileError(f"{path} cannot be opened: {error.strerror}") from error
    with os.fdopen(descriptor):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise DataFileError(f"{path} is in use by another event store") from None
        _make_private(path)
        yield


def prepare_data_file(path: Path) -> None:
    """Create the file if it is absent or empty, else check it. Needs the lock.

    Raises DataFileError for a file that cannot be used, and leaves that unchanged.
    """
    try:
        if not path.exists() or path.stat().st_size == 0:
            _create(path)
        _refuse_corrupt(path)
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


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _make_private(path: Path) -> None:
    """Only the owner may read what was written with other permissions, by an older version or tool.

    Raises DataFileError.
    """
    for file in (_beside(path, suffix) for suffix in _FILES):
        try:
            if file.exists() and file.stat().st_mode & 0o077:
                file.chmod(_PRIVATE)
        except OSError as error:
            raise DataFileError(
                f"{file} can be read by others, and cannot be made private: {error.strerror}"
            ) from error


def _refuse_foreign(path: Path) -> None:
    if not path.exists():
        return
    if not path.is_file():
        raise DataFileError(f"{path} is not a file")
    with path.open("rb") as file:
        header = file.read(_HEADER_SIZE)
    if not header:
        return
    if not header.startswith(_SQLITE_MAGIC) or len(header) < _HEADER_SIZE:
        raise DataFileError(f"{path} is not an event store's data file")
    if int.from_bytes(header[68:72]) != APPLICATION_ID:
        raise DataFileError(f"{path} is a SQLite file, but not an event store's")
    if int.from_bytes(header[60:64]) != FORMAT:
        raise DataFileError(f"{path} has a format that this version does not know")


def _create(path: Path) -> None:
    """Create the file under another name first: it appears complete or not at all."""
    draft = _beside(path, ".new")
    draft.unlink(missing_ok=True)
    os.close(os.open(draft, os.O_CREAT | os.O_EXCL, _PRIVATE))
    connection = connect(draft, writable=True)
    try:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {FORMAT}")
        connection.executescript(_SCHEMA)
        connection.execute("PRAGMA journal_mode = WAL")
    finally:
        connection.close()
    draft.replace(path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refuse_corrupt(path: Path) -> None:
    """Check all of a small file, and the newest events of a large one.

    Only reads: a file that is refused is not changed.
    """
    _refuse_truncated(path)
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    try:
        connection.execute(
            "SELECT max(position), count(frame) FROM (SELECT position, frame"
            " FROM events ORDER BY position DESC LIMIT 100)"
        ).fetchone()
        if path.stat().st_size < _FULL_CHECK_BELOW:
            (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if verdict != "ok":
                raise DataFileError(f"{path} is corrupt: {' '.join(verdict.split())}")
    finally:
        connection.close()


def _refuse_truncated(path: Path) -> None:
    """Refuse a file that is shorter than its header says, unless the rest is in the WAL."""
    wal = _beside(path, "-wal")
    if wal.exists() and wal.stat().st_size > 0:
        return
    with path.open("rb") as file:
        header = file.read(_HEADER_SIZE)
    page_size = int.from_bytes(header[16:18])
    if page_size == 1:
        page_size = 65536
    if path.stat().st_size < page_size * int.from_bytes(header[28:32]):
        raise DataFileError(f"{path} is corrupt: it is shorter than it should be")
