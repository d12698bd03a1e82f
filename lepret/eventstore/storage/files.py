"""The data file and those beside it."""

import os
from pathlib import Path

PRIVATE = 0o600

SUFFIXES = ("", "-wal", "-shm", "-journal", ".lock", ".new", ".head")
"""What is beside a data file; SQLite gives its own the permissions of the file."""


def beside(path: Path, suffix: str) -> Path:
    """The file beside a data file with this suffix."""
    return path.with_name(path.name + suffix)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on disk. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
