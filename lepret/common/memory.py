"""How a process that runs for long deals with memory.

By itself, glibc's allocator gives too little back to the operating system, and CPython looks for
garbage too often.
"""

from __future__ import annotations

import ctypes
import gc
import sys
from typing import Final

# Parameters of mallopt(3): its man page explains them; their numbers are in malloc.h.
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8

_ARENAS: Final = 2
_BYTES: Final = 128 * 1024

# Thresholds of CPython's garbage collector, which are 700, 10 and 10 by default. With larger ones
# than these, what an error has left behind in cycles would stay for a thousand requests.
_COLLECT_AFTER: Final = (10_000, 10, 10)


def prepare_memory() -> None:
    """Prepare a process that runs for long, once its modules are loaded."""
    _keep_memory_small()
    _collect_garbage_less_often()


def _collect_garbage_less_often() -> None:
    """Exempt the modules loaded so far from collection, and collect the rest less often.

    A full collection delays every request that is being served. A projector that catches up makes
    so many objects that a sixth of its time went into collections.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT_AFTER)


def _keep_memory_small() -> None:
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
