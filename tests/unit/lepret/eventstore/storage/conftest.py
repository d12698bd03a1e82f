from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lepret.eventstore.storage.datafile import prepare_data_file
from lepret.eventstore.storage.log import Log


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    path = tmp_path / "events.sqlite"
    prepare_data_file(path)
    log = Log(path)
    yield log
    log.close()
