from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from lepret.common.aside import Aside
from tests.support.processes import PATIENCE, wait_until


def test_nobody_waits_for_it() -> None:
    aside, begin, done = Aside("test"), threading.Event(), threading.Event()

    def work() -> None:
        assert begin.wait(PATIENCE)
        done.set()

    aside.do(work)
    assert not done.is_set()
    begin.set()
    assert done.wait(PATIENCE)


def test_while_it_is_busy_whoever_asks_does_the_work() -> None:
    aside, end = Aside("test"), threading.Event()
    aside.do(lambda: end.wait(PATIENCE))
    did: list[str] = []
    for _ in range(3):
        aside.do(lambda: did.append(threading.current_thread().name))
    assert did == [threading.current_thread().name] * 3
    end.set()


def test_after_an_error_it_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    aside, end = Aside("test"), threading.Event()

    def fail(after: threading.Event | None = None) -> None:
        assert after is None or after.wait(PATIENCE)
        raise ValueError("Ann Example")

    aside.do(lambda: fail(after=end))
    aside.do(fail)  # Here, since it is busy.
    end.set()
    wait_until(lambda: len(caplog.records) == 2)
    assert {each.getMessage() for each in caplog.records} == {
        "Something was not done aside: ValueError"
    }
    did: list[str] = []
    wait_until(lambda: is_done_elsewhere(aside, did))


def is_done_elsewhere(aside: Aside, did: list[str]) -> bool:
    """Whether it does its work in another thread than this one: it is not busy any more."""
    aside.do(lambda: did.append(threading.current_thread().name))
    wait_until(lambda: bool(did))
    return did.pop() != threading.current_thread().name


def test_a_process_that_stops_does_it_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    aside, here = Aside("test"), threading.current_thread().name

    def refuse(*_: object) -> None:
        raise RuntimeError("cannot schedule new futures after interpreter shutdown")

    with monkeypatch.context() as patched:
        patched.setattr(ThreadPoolExecutor, "submit", refuse)
        did: list[str] = []
        for _ in range(2):
            aside.do(lambda: did.append(threading.current_thread().name))
    assert did == [here, here]
    assert is_done_elsewhere(aside, [])
