from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.lepret.eventstore.hooked_store import HookedStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[HookedStore]:
    store = HookedStore(tmp_path / "events.sqlite")
    yield store
    store.close()
