"""`/readyz` names what hangs, and nothing else, however many ask and however many pages hang."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from uuid import uuid4

import httpx2
import pytest

from tests.integration.lepret.outages.conftest import System
from tests.support.processes import frozen, wait_until

ASKERS = 20
CHECKS = ("database", "event_store", "channel_layer")


@contextmanager
def hanging(system: System, part: str) -> Iterator[None]:
    """This part of the system hangs during the block, and so do pages that need it."""
    match part:
        case "database":
            freezing, path = system.postgresql.frozen(), "/underwriting/"
        case "event_store":
            freezing, path = system.event_store.frozen(), f"/loans/{uuid4()}/"
        case _:
            freezing, path = frozen(system.valkey.pid), f"/api/loan-requests/{uuid4()}"
    is_over = threading.Event()
    with freezing, ThreadPoolExecutor(40) as executor:
        try:
            for _ in range(40):
                executor.submit(keep_asking, system, path, is_over)
            yield
        finally:
            is_over.set()


def keep_asking(system: System, path: str, is_over: threading.Event) -> None:
    while not is_over.is_set():
        system.get(path)
        is_over.wait(0.5)


def is_ready(system: System) -> bool:
    return system.web.get("/readyz").status_code == httpx2.codes.OK


@pytest.mark.parametrize("part", CHECKS)
def test_what_hangs_is_named_and_nothing_else(system: System, part: str) -> None:
    wait_until(lambda: is_ready(system), what="it is ready")
    ask: Callable[[int], httpx2.Response] = lambda _: system.web.get("/readyz")  # noqa: E731
    with hanging(system, part), ThreadPoolExecutor(ASKERS) as askers:
        # What was found just before still holds for a moment.
        wait_until(lambda: not is_ready(system), what="it is no longer ready")
        for _ in range(3):  # Each round leaves its threads behind.
            answers = list(askers.map(ask, range(ASKERS)))
            assert {each.status_code for each in answers} == {503}
            expected = dict.fromkeys(CHECKS, "ok") | {part: "unavailable"}
            assert [each.json()["checks"] for each in answers] == [expected] * ASKERS
            assert system.web.get("/healthz").status_code == 200
    wait_until(lambda: is_ready(system), what="it is ready again")
