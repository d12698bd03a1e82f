"""Looking whether the checkpoint is still where the follower has left it."""

from __future__ import annotations

import pytest
from django.db import OperationalError

from readmodels.projector import follower
from readmodels.projector.batches import Applier, CheckpointGone, CheckpointWentBack
from readmodels.projector.follower import Lookout


class FakeApplier(Applier):
    """Finds what it is told to when it looks at its checkpoint."""

    def __init__(self, *found: Exception | None) -> None:
        self.left = list(found)

    def refresh(self) -> None:
        found = self.left.pop(0)
        if found is not None:
            raise found


@pytest.fixture(autouse=True)
def _no_database(monkeypatch: pytest.MonkeyPatch) -> None:
    class Connection:
        def close(self) -> None:
            """There is none."""

    monkeypatch.setattr(follower, "read_models_connection", Connection)


def test_it_looks_only_every_few_seconds() -> None:
    applier = FakeApplier(None)
    Lookout(applier, 3_600.0).look()
    assert len(applier.left) == 1


def test_a_checkpoint_that_went_back_is_said_at_once() -> None:
    with pytest.raises(CheckpointWentBack):
        Lookout(FakeApplier(CheckpointWentBack()), 0.0).look()


def test_one_that_is_gone_is_said_when_it_is_still_gone() -> None:
    """A table that is being restored has no rows at first."""
    lookout = Lookout(FakeApplier(CheckpointGone(), None, CheckpointGone(), CheckpointGone()), 0.0)
    for _ in range(3):
        lookout.look()
    with pytest.raises(CheckpointGone):
        lookout.look()


def test_a_database_that_is_away_is_nothing_to_it() -> None:
    applier = FakeApplier(OperationalError(), OperationalError())
    lookout = Lookout(applier, 0.0)
    lookout.look()
    lookout.look()
    assert applier.left == []
