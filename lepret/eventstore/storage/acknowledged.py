"""How far the log was acknowledged to clients: in a file beside it, outside the write-ahead log.

It is written after each commit and before its answers, and not synced, which would cost as much as
the commit. So it survives the end of the process, and after a power cut it may name an earlier
position: never one that the log does not hold, unless something was taken from the log.
"""

import contextlib
import logging
import os
from pathlib import Path

from lepret.eventstore.storage.files import PRIVATE, beside, sync_folder

_DIGITS = 20

logger = logging.getLogger(__name__)


class Acknowledged:
    """The file. For the thread that appends."""

    def __init__(self, path: Path, position: int) -> None:
        """Begin, on disk, with the last position of the log ``path``. Raises OSError."""
        self._descriptor = os.open(_file(path), os.O_RDWR | os.O_CREAT, PRIVATE)
        self._has_failed = False
        os.pwrite(self._descriptor, _line(position), 0)
        os.fsync(self._descriptor)
        sync_folder(path.parent)

    def write(self, position: int) -> None:
        """Note a position that is about to be acknowledged."""
        try:
            os.pwrite(self._descriptor, _line(position), 0)
        except OSError as error:
            # The events are on disk: only their loss would not be noticed.
            if not self._has_failed:
                logger.warning("the acknowledged position was not written: %s", error.strerror)
            self._has_failed = True

    def close(self) -> None:
        """Sync and close it."""
        with contextlib.suppress(OSError):
            os.fsync(self._descriptor)
        os.close(self._descriptor)


def acknowledged_position(path: Path) -> int | None:
    """The last position of the log ``path`` that was acknowledged; None if that is not known.

    Raises OSError.
    """
    try:
        line = _file(path).read_bytes()
    except FileNotFoundError:
        return None
    is_whole = len(line) == _DIGITS + 1 and line[:-1].isdigit()
    return int(line) if is_whole else None


def forget_acknowledged(path: Path) -> None:
    """Go on from what the log holds. Raises OSError."""
    _file(path).unlink(missing_ok=True)


def _file(path: Path) -> Path:
    return beside(path, ".head")


def _line(position: int) -> bytes:
    return b"%0*d\n" % (_DIGITS, position)
