"""Event stores that go back to an older state, or are replaced by another one, in tests."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.support.event_store import RunningEventStore


def backed_up(store: RunningEventStore, name: str) -> Path:
    """A directory with the files of a store, which is stopped for that and started again."""
    store.stop()
    backup = store.data.with_name(name)
    backup.mkdir()
    for file in _files(store):
        shutil.copy2(file, backup)
    store.restart()
    return backup


def replace_store(store: RunningEventStore, backup: Path | None) -> None:
    """Stop a store, put the files of a backup in the place of its own, and start it again.

    Without a backup it is empty then.
    """
    store.stop()
    for file in _files(store):
        file.unlink()
    if backup is not None:
        for file in backup.iterdir():
            shutil.copy2(file, store.data.parent)
    store.restart()


def _files(store: RunningEventStore) -> list[Path]:
    return [each for each in store.data.parent.glob(f"{store.data.name}*") if each.is_file()]
