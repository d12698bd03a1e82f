"""Gives memory back to the operating system, which glibc's allocator does too seldom by itself."""

from __future__ import annotations

import ctypes
import sys
from typing import Final

# Parameters of mallopt(3): its man page explains them; their numbers are in malloc.h.
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8

_ARENAS: Final = 2
_BYTES: Final = 128 * 1024


def keep_memory_small() -> None:
    """Have this process keep little memory that it does not use. Only on Linux with glibc.

    By default each thread gets an arena of its own, up to eight for each core, and after the first
    large block has been freed, blocks up to 32 MB are kept for later. One hostile request would
    leave its share in each.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # Other C libraries have none.
    if mallopt is None:
        return
    mallopt(_M_ARENA_MAX, _ARENAS)
    mallopt(_M_MMAP_THRESHOLD, _BYTES)
    mallopt(_M_TRIM_THRESHOLD, _BYTES)
