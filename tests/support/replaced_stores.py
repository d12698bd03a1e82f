"""Event stores that go back to an older state, or are replaced by another one, in tests."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.support.event_store import RunningEventStore


def backed_up(store: RunningEventStore, name: str) -> Path:
    """A directory with the files of a store, which is stopped for that and started again."""
    store.stop()
    backup = store.folder.with_name(name)
    shutil.copytree(store.folder, backup)
    store.restart()
    return backup


def replace_store(store: RunningEventStore, backup: Path | None) -> None:
    """Stop a store, put the files of a backup in the place of its own, and start it again.

    Without a backup it is empty then.
    """
    store.stop()
    shutil.rmtree(store.folder)
    if backup is None:
        store.folder.mkdir()
    else:
        shutil.copytree(backup, store.folder)
    store.restart()
