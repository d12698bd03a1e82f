"""The data file: made, checked and locked before anything is read from it."""

import fcntl
import os
import sqlite3
from pathlib import Path
from types import TracebackType
from typing import Self

APPLICATION_ID = 0x6C657072
"""Marks a SQLite file as an event log; spells "lepr"."""

FORMAT = 1
"""The layout of the tables, kept in SQLite's user_version."""

_SQLITE_MAGIC = b"SQLite format 3\0"
_HEADER_SIZE = 100
_FULL_CHECK_BELOW = 32 * 1024 * 1024

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
    """The file cannot be served; the message is one line for the operator."""


class DataFileLock:
    """The right to write a data file, held by one process at a time.

    The operating system gives it back when the process ends, however it ends.
    """

    def __init__(self, path: Path) -> None:
        """Take the lock. Raises DataFileError when another process has it."""
        self._descriptor = os.open(_beside(path, ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._descriptor)
            raise DataFileError(f"{path} is in use by another event store") from None

    def release(self) -> None:
        """Let another process have the file."""
        os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()


def lock_data_file(path: Path) -> DataFileLock:
    """Lock the file, after a look that leaves a foreign file and its folder untouched.

    Raises DataFileError.
    """
    try:
        _refuse_foreign(path)
        return DataFileLock(path)
    except OSError as error:
        raise DataFileError(f"{path} cannot be opened: {error.strerror}") from error


def prepare_data_file(path: Path) -> None:
    """Make the file if there is none, else check that it can be served. Needs the lock.

    Raises DataFileError, and leaves the file as it was.
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
    """A connection with explicit transactions; a commit is on disk when it returns."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA busy_timeout = 5000")
    if not writable:
        connection.execute("PRAGMA query_only = ON")
    return connection


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


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
    """Make the file under another name first: it appears whole or not at all."""
    draft = _beside(path, ".new")
    draft.unlink(missing_ok=True)
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
    """Check the whole of a small file, and a large one where it is used first.

    ReadCalls only, so that a file that is refused stays as it was.
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
    """A file shorter than its header says; only the write-ahead log may hold the rest."""
    log = _beside(path, "-wal")
    if log.exists() and log.stat().st_size > 0:
        return
    with path.open("rb") as file:
        header = file.read(_HEADER_SIZE)
    page_size = int.from_bytes(header[16:18])
    if page_size == 1:
        page_size = 65536
    if path.stat().st_size < page_size * int.from_bytes(header[28:32]):
        raise DataFileError(f"{path} is corrupt: it is shorter than it should be")
