"""Checks that read models are up to date with the event store, and that nothing is left over."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from django.db import connections

from lepret.common.event_store_client import event_store_client
from readmodels.models import Checkpoint, Failure, Rebuild
from readmodels.projections import PROJECTIONS
from tests.support.commits import Commit
from tests.support.processes import PATIENCE, wait_until


def positions() -> dict[str, int]:
    """The position of each projection."""
    return dict(Checkpoint.objects.values_list("name", "position"))


def wait_until_level(timeout: float = PATIENCE) -> None:
    """Wait up to `timeout` seconds until every projection has applied the last event."""
    end = event_store_client().get_commit_position()
    expected = dict.fromkeys(PROJECTIONS, end)
    wait_until(lambda: positions() == expected, timeout, what="all is applied", every=0.01)


def assert_nothing_is_left_over(alias: str) -> None:
    """There is no failure, no rebuild, and no table of one."""
    assert not Failure.objects.exists()
    assert not Rebuild.objects.exists()
    tables = connections[alias].introspection.table_names()
    assert [each for each in tables if each[-1].isdigit()] == []


def assert_each_event_was_committed_once(made: Sequence[Commit]) -> None:
    """Each commit begins where the one before it ended: no event is missing or applied twice."""
    by_projection: Mapping[str, list[Commit]] = defaultdict(list)
    for each in made:
        by_projection[each.name].append(each)
    assert by_projection.keys() == PROJECTIONS.keys()
    for own in by_projection.values():
        assert [each.after for each in own] == [0, *(each.position for each in own[:-1])]
        assert all(each.position > each.after for each in own)
