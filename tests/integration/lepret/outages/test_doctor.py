"""`manage.py doctor` says what is wrong, on services that are full, hang, or are stopped."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from tests.integration.lepret.outages.conftest import System
from tests.integration.lepret.outages.test_full_disk import full_disk
from tests.integration.lepret.outages.test_readiness import is_ready
from tests.support.processes import wait_until

Outage = Callable[[System], AbstractContextManager[None]]


@pytest.mark.parametrize(
    ("name", "outage", "words"),
    [
        ("event_store", full_disk, "takes no events: make room on its disk"),
        ("database", lambda system: system.postgresql.full(), "has no connection left: end some"),
        ("database", lambda system: system.postgresql.frozen(), "does not answer in"),
        ("database", lambda system: system.postgresql.stopped("fast"), "nothing listens at /"),
    ],
    ids=["full event store", "full database", "frozen database", "stopped database"],
)
def test_what_is_wrong_is_said_in_words(
    system: System, name: str, outage: Outage, words: str
) -> None:
    with outage(system):
        done = system.manage("doctor", name)
    assert done.returncode == 1
    assert words in done.stdout
    assert done.stderr == ""
    wait_until(lambda: is_ready(system), what="it is ready again")
