"""``python -m lepret.eventstore --backup FILE``: copy the data file, also while a server writes.

The copy is what the file held at one moment. It is made under another name, verified, and renamed:
FILE is a whole backup or not there. It needs no file beside it, and a server can use it as it is.
"""

import contextlib
import fcntl
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lepret.eventstore.storage.datafile import DataFileError, connect_to_read
from lepret.eventstore.storage.files import PRIVATE, SUFFIXES, beside, sync_folder
from lepret.eventstore.verifying import Holding, holding_of, snapshot, verify

_PAGES_AT_ONCE = 1024
"""4 MB. They are on disk before the next ones are read, so that the server's syncs go on."""

_WITHOUT_LOG = b"\x01\x01"


def back_up(path: Path, target: Path, *, overwrite: bool = False) -> Holding:
    """Back a data file up.

    Raises:
        DataFileError: the file is absent, foreign, or not whole; or the target is there, cannot be
            written, or is the file itself.
        sqlite3.Error: the file is corrupt.
    """
    _refuse_target(path, target, overwrite=overwrite)
    with snapshot(path) as source:
        try:
            with _draft(target) as draft:
                _copy(source, draft)
                holding = _verified(draft, holding_of(source))
                _refuse_target(path, target, overwrite=overwrite)
                draft.replace(target)
                sync_folder(target.parent)
        except OSError as error:
            raise DataFileError(f"{target} cannot be written: {error.strerror}") from error
    return holding


def _refuse_target(path: Path, target: Path, *, overwrite: bool) -> None:
    if target in {beside(path, suffix) for suffix in SUFFIXES}:
        raise DataFileError(f"{target} is the data file, or belongs to it")
    if not target.exists():
        return
    if not target.is_file() or target.samefile(path):
        raise DataFileError(f"{target} is the data file, or no file")
    if not overwrite:
        raise DataFileError(f"{target} exists; add --overwrite to replace it")


@contextmanager
def _draft(target: Path) -> Iterator[Path]:
    """An empty file beside the target, which is removed if it does not become the target.

    A backup that was killed leaves it behind, and the next one uses it.
    Raises OSError, DataFileError.
    """
    draft = beside(target, ".partial")
    with os.fdopen(os.open(draft, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, PRIVATE)) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataFileError(f"{draft} is being written by another backup") from None
        os.fchmod(file.fileno(), PRIVATE)
        os.ftruncate(file.fileno(), 0)
        try:
            yield draft
        finally:
            draft.unlink(missing_ok=True)


def _copy(source: sqlite3.Connection, draft: Path) -> None:
    """Copy at half the speed that there is. Raises OSError."""
    descriptor = os.open(draft, os.O_RDWR)
    began = time.monotonic()

    def pace(status: int, remaining: int, total: int) -> None:
        nonlocal began
        os.fsync(descriptor)
        if remaining:
            time.sleep(time.monotonic() - began)
        began = time.monotonic()

    try:
        _copy_pages(source, draft, pace)
        # The header is copied, too: it may say that there is a write-ahead log.
        os.pwrite(descriptor, _WITHOUT_LOG, 18)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _copy_pages(
    source: sqlite3.Connection, draft: Path, pace: Callable[[int, int, int], None]
) -> None:
    with contextlib.closing(sqlite3.connect(draft, isolation_level=None)) as copy:
        # A draft needs no journal: it is thrown away if it is not finished.
        copy.execute("PRAGMA journal_mode = OFF").fetchall()
        copy.execute("PRAGMA synchronous = OFF")
        try:
            # In the source's transaction, else each of the server's writes would start it anew.
            source.backup(copy, pages=_PAGES_AT_ONCE, progress=pace)
        except sqlite3.Error as error:
            raise DataFileError(f"{draft} cannot be written: {error}") from error


def _verified(draft: Path, expected: Holding) -> Holding:
    with contextlib.closing(connect_to_read(draft)) as connection:
        holding = verify(connection, draft)
    if holding != expected:
        raise DataFileError(f"{draft} holds {holding}, but should hold {expected}")
    return holding
