"""The supervisor, with tiny real child processes."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import ParamSpec

import pytest

from lepret.demo.supervisor import Child, ChildFailed, Patience, RestartDelays, Supervisor
from tests.support.processes import PATIENCE, PROJECT, descendants, is_alive, wait_until

QUICK = RestartDelays(first=0.01, longest=0.05)
PATIENT = Patience()
P = ParamSpec("P")

FOREVER = "import time\nprint('up', flush=True)\ntime.sleep(600)"
SILENT = "import time\ntime.sleep(600)"
POLITE = (
    "import signal, sys\n"
    "signal.signal(signal.SIGTERM, lambda *_: sys.exit(print('bye', flush=True)))\n"
    f"{FOREVER}"
)
STUBBORN = f"import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n{FOREVER}"


def python(name: str, code: str, *, ready_words: str | None = "up", **more: object) -> Child:
    return Child(
        name=name,
        command=(sys.executable, "-c", code),
        environment={**os.environ, **{key: str(value) for key, value in more.items()}},
        ready_words=ready_words,
    )


class Watched:
    """A supervisor, and everything that it has shown and announced."""

    def __init__(self, *, delays: RestartDelays, patience: Patience) -> None:
        self.lines: list[tuple[str, str]] = []
        self.announcements: list[str] = []
        self.supervisor = Supervisor(
            show=lambda name, line: self.lines.append((name, line)),
            announce=self.announcements.append,
            delays=delays,
            patience=patience,
        )

    async def start(self, child: Child, *, within: float = PATIENCE) -> None:
        await self.supervisor.start(child, within=within)

    async def run(self, child: Child, *, within: float = PATIENCE) -> None:
        await self.supervisor.run(child, within=within)

    def said(self, name: str) -> list[str]:
        return [line for speaker, line in self.lines if speaker == name]


@contextlib.asynccontextmanager
async def watched(
    *, delays: RestartDelays = QUICK, patience: Patience = PATIENT
) -> AsyncIterator[Watched]:
    watching = Watched(delays=delays, patience=patience)
    try:
        yield watching
    finally:
        watching.supervisor.kill()
        await watching.supervisor.stop()


def in_a_loop(test: Callable[P, Awaitable[None]]) -> Callable[P, None]:
    """Run an async test to its end, which comes in time."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(2 * PATIENCE):
                await test(*args, **kwargs)

        asyncio.run(bounded())

    return run


async def until(condition: Callable[[], object]) -> None:
    """Wait for a condition without blocking the loop."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 (it depends on other processes)
            await asyncio.sleep(0.01)


# The processes that were running before this test: servers that tests share.
others: set[int] = set()


def children() -> dict[int, str]:
    """The processes that this test has started, with their descendants."""
    # Servers of other tests start processes at any time, such as PostgreSQL's autovacuum.
    not_ours = set(others)
    ours = {}
    for each in descendants(os.getpid()):
        if each.pid in others or each.parent in not_ours:
            not_ours.add(each.pid)
        else:
            ours[each.pid] = each.command_line
    return ours


@pytest.fixture(autouse=True)
def _leaves_no_process_behind() -> Iterator[None]:
    others.clear()
    others.update(children())
    yield
    wait_until(lambda: not children(), what="no child is left")


class TestReadiness:
    @in_a_loop
    async def test_is_shown_by_a_line_that_the_child_prints(self) -> None:
        async with watched() as it:
            await it.start(python("it", "print('not yet', flush=True)\n" + FOREVER))
            assert it.said("it") == ["not yet", "up"]

    @in_a_loop
    async def test_is_shown_by_a_check(self) -> None:
        answers = iter([False, False, True])

        async def check() -> bool:
            return next(answers)

        async with watched() as it:
            child = Child(
                name="it",
                command=(sys.executable, "-c", FOREVER),
                environment=os.environ,
                ready_check=check,
            )
            await it.start(child)
            assert list(answers) == []

    @in_a_loop
    async def test_comes_with_the_start_if_there_are_no_words_and_no_check(self) -> None:
        async with watched() as it:
            await it.start(python("it", SILENT, ready_words=None))
            assert it.said("it") == []

    @in_a_loop
    async def test_that_never_comes_is_a_failure(self) -> None:
        async with watched() as it:
            with pytest.raises(ChildFailed, match=r"^it was not ready within 0.3 seconds$"):
                await it.start(python("it", FOREVER, ready_words="never"), within=0.3)

    @in_a_loop
    async def test_fails_if_the_child_ends_first_and_is_not_restarted(self) -> None:
        async with watched() as it:
            with pytest.raises(ChildFailed, match=r"^it ended with exit status 3 before it was"):
                await it.start(python("it", "raise SystemExit(3)"))
            assert it.announcements == []

    @in_a_loop
    async def test_a_program_that_is_not_there_is_a_failure(self) -> None:
        nothing = Child(name="it", command=("/no/such/program",), environment={})
        async with watched() as it:
            with pytest.raises(ChildFailed, match=r"^it could not be started \(No such file"):
                await it.start(nothing)
            with pytest.raises(ChildFailed, match=r"^it could not be started \(No such file"):
                await it.run(nothing)


class TestOutput:
    @in_a_loop
    async def test_of_both_streams_is_shown_line_by_line(self) -> None:
        code = (
            "import os; os.write(1, b'one\\ntw'); os.write(2, b'o\\r\\n\\xff'); os.write(1, b'!')"
        )
        async with watched() as it:
            await it.run(python("it", code))
            assert it.said("it") == ["one", "two", "\ufffd!"]

    @in_a_loop
    async def test_without_a_line_end_comes_in_pieces(self) -> None:
        async with watched() as it:
            await it.run(python("it", "print('x' * 1_000_000)"))
            assert "".join(it.said("it")) == "x" * 1_000_000
            assert len(it.said("it")) > 1


class TestRunningOnce:
    @in_a_loop
    async def test_returns_when_the_child_has_ended_well(self) -> None:
        async with watched() as it:
            await it.run(python("it", "print('done')"))
            assert (it.said("it"), it.announcements) == (["done"], [])

    @in_a_loop
    async def test_raises_an_error_that_says_how_the_child_failed(self) -> None:
        async with watched() as it:
            with pytest.raises(ChildFailed, match=r"^it ended with exit status 2$"):
                await it.run(python("it", "raise SystemExit(2)"))
            with pytest.raises(ChildFailed, match=r"^it was ended by SIGKILL$"):
                await it.run(python("it", "import os; os.kill(os.getpid(), 9)"))

    @in_a_loop
    async def test_has_a_time_limit(self) -> None:
        async with watched() as it:
            with pytest.raises(ChildFailed, match=r"^it did not finish within 0.3 seconds$"):
                await it.run(python("it", FOREVER), within=0.3)


class TestAChildThatEnds:
    @in_a_loop
    async def test_is_started_again_and_that_is_announced(self) -> None:
        async with watched() as it:
            await it.start(python("it", FOREVER))
            [pid] = children()
            os.kill(pid, signal.SIGKILL)
            await until(lambda: it.said("it") == ["up", "up"])
            assert it.announcements == ["it was ended by SIGKILL; starting it again in 0.01 s"]

    @in_a_loop
    async def test_is_started_again_even_after_exit_status_0(self) -> None:
        async with watched() as it:
            await it.start(python("it", "print('up')"))
            await until(lambda: len(it.announcements) >= 1)
            assert it.announcements[0].startswith("it ended with exit status 0; starting")

    @in_a_loop
    async def test_is_started_again_for_ever_after_growing_delays(self) -> None:
        async with watched() as it:
            await it.start(python("it", "print('up')"))
            await until(lambda: len(it.announcements) >= 6)
            delays = [line.split()[-2] for line in it.announcements]
            assert delays[:6] == ["0.01", "0.02", "0.04", "0.05", "0.05", "0.05"]

    @in_a_loop
    async def test_is_started_again_once_its_missing_program_is_back(self, tmp_path: Path) -> None:
        program = tmp_path / "program"  # It is missing for a moment, as during an upgrade.
        program.symlink_to("/bin/sleep")
        async with watched() as it:
            await it.start(Child(name="it", command=(str(program), "600"), environment={}))
            program.unlink()
            [pid] = children()
            os.kill(pid, signal.SIGTERM)
            await until(lambda: any("could not be started" in line for line in it.announcements))
            program.symlink_to("/bin/sleep")
            await until(children)

    @in_a_loop
    async def test_takes_its_own_children_with_it(self) -> None:
        grandchild = "import subprocess; subprocess.Popen(['sleep', '600'])\n"
        async with watched(delays=RestartDelays(first=600)) as it:
            await it.start(python("it", grandchild + FOREVER))
            [pid] = [pid for pid, command in children().items() if "sleep 600" not in command]
            [sleeper] = [child.pid for child in descendants(pid)]
            os.kill(pid, signal.SIGKILL)
            await until(lambda: not is_alive(sleeper))


@pytest.mark.parametrize(
    ("previous", "ran_for", "expected"),
    [
        (None, 0.0, 0.2),
        (0.2, 0.0, 0.4),
        (8.0, 0.0, 10.0),
        (10.0, 9.9, 10.0),
        (10.0, 10.0, 0.2),
    ],
)
def test_the_delay_grows_to_a_limit_and_is_reset_after_a_long_run(
    previous: float | None, ran_for: float, expected: float
) -> None:
    delays = RestartDelays(first=0.2, factor=2.0, longest=10.0, forgotten_after=10.0)
    assert delays.next(previous, ran_for) == expected


class TestStopping:
    @in_a_loop
    async def test_ends_the_children_in_reverse_order_and_shows_their_last_lines(self) -> None:
        async with watched() as it:
            for name in ("first", "second", "third"):
                await it.start(python(name, POLITE))
            await it.supervisor.stop()
            assert it.lines[3:] == [("third", "bye"), ("second", "bye"), ("first", "bye")]
            assert children() == {}
            assert it.announcements == []

    @in_a_loop
    async def test_kills_children_that_ignore_sigterm(self) -> None:
        patience = Patience(between=0.05, in_all=0.3)
        async with watched(patience=patience) as it:
            for name in ("one", "two", "three"):
                await it.start(python(name, STUBBORN))
            began = time.monotonic()
            await asyncio.wait_for(it.supervisor.stop(), PATIENCE)
            assert time.monotonic() - began >= 0.3
            assert children() == {}

    @in_a_loop
    async def test_does_not_wait_for_a_child_that_stops_in_parallel(self) -> None:
        async with watched(patience=Patience(between=600, in_all=0.3)) as it:
            await it.start(python("first", POLITE))
            await it.start(replace(python("second", STUBBORN), stops_in_parallel=True))
            await asyncio.wait_for(it.supervisor.stop(), PATIENCE)
            assert it.lines[2:] == [("first", "bye")]
            assert children() == {}

    @in_a_loop
    async def test_is_cut_short_by_a_kill(self) -> None:
        async with watched(patience=Patience(between=600, in_all=600)) as it:
            await it.start(python("it", STUBBORN))
            stopping = asyncio.create_task(it.supervisor.stop())
            await asyncio.sleep(0)
            it.supervisor.kill()
            await asyncio.wait_for(stopping, PATIENCE)
            assert children() == {}

    @in_a_loop
    async def test_does_not_wait_for_a_child_that_waits_to_be_started_again(self) -> None:
        async with watched(delays=RestartDelays(first=600)) as it:
            await it.start(python("it", "print('up')"))
            await until(lambda: it.announcements)
            await asyncio.wait_for(it.supervisor.stop(), PATIENCE)

    @in_a_loop
    async def test_ends_a_child_that_is_just_being_started(self) -> None:
        async with watched() as it:
            starting = asyncio.create_task(it.start(python("it", FOREVER)))
            await asyncio.sleep(0)
            await it.supervisor.stop()
            assert children() == {}
            starting.cancel()

    @in_a_loop
    async def test_of_a_child_that_runs_once_is_no_error(self) -> None:
        errors: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, error: errors.append(error))

        async def stop_while_it_runs() -> None:
            async with watched() as it:
                running = asyncio.create_task(it.run(python("it", FOREVER)))
                await until(lambda: it.said("it"))
                running.cancel()
                await it.supervisor.stop()

        await stop_while_it_runs()
        gc.collect()  # asyncio then reports exceptions that nobody has retrieved
        assert errors == []


class TestSignals:
    @in_a_loop
    async def test_of_the_terminal_do_not_reach_a_child(self) -> None:
        async with watched() as it:
            await it.start(python("it", FOREVER))
            [pid] = children()
            assert os.getsid(pid) == pid

    @pytest.mark.skipif(sys.platform != "linux", reason="only Linux can do it")
    def test_kill_of_the_parent_ends_the_children(self) -> None:
        parent = subprocess.Popen(
            [sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True, cwd=PROJECT
        )
        assert parent.stdout is not None
        try:
            # What the child prints may come before it.
            assert "ready\n" in iter(parent.stdout.readline, "")
            [child] = descendants(parent.pid)
        finally:
            parent.kill()
            parent.wait()
            parent.stdout.close()
        wait_until(lambda: not is_alive(child.pid), what="the child is gone")


PARENT = f"""
import asyncio, sys
from lepret.demo.supervisor import Child, Supervisor

async def main():
    supervisor = Supervisor(show=print, announce=print)
    child = Child(name="it", command=(sys.executable, "-c", {STUBBORN!r}), environment={{}})
    await supervisor.start(child, within={PATIENCE})
    print("ready", flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""
