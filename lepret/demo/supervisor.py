"""Keeps child processes running: starts them, shows what they print, restarts those that end.

Each child gets a session of its own, so that a Ctrl-C in the terminal reaches only the parent,
which then stops the children. On Linux the kernel kills them when the parent ends, however it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import DEVNULL, PIPE, STDOUT
from typing import cast

LONGEST_LINE_BYTES = 8 * 1024
SECONDS_BETWEEN_READY_CHECKS = 0.1
SECONDS_TO_BE_READY = 60.0
GOOD_ENDING = "ended with exit status 0"


class ChildFailed(Exception):
    """A child could not be started, ended before it was ready, or was not ready in time."""


@dataclass(frozen=True, kw_only=True)
class Child:
    """A process to run.

    It is ready when it prints a line with `ready_words` or when `ready_check` returns true,
    whichever is given; with neither, as soon as it runs. A stop waits for it before it asks the
    next child to end, unless it `stops_in_parallel`.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    directory: Path | None = None
    ready_words: str | None = None
    ready_check: Callable[[], Awaitable[bool]] | None = None
    stops_in_parallel: bool = False


@dataclass(frozen=True, kw_only=True)
class RestartDelays:
    """Seconds to wait before a restart: more each time that the child has ended soon."""

    first: float = 0.2
    factor: float = 2.0
    longest: float = 10.0
    forgotten_after: float = 10.0

    def next(self, previous: float | None, ran_for: float) -> float:
        """The delay after a run of `ran_for` seconds; `previous` is the delay before that run."""
        if previous is None or ran_for >= self.forgotten_after:
            return self.first
        return min(previous * self.factor, self.longest)


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long a stop waits, in seconds.

    `between` is the longest wait for a child before the next one is asked to end. The children that
    still run after `in_all` are killed; a killed child is waited for `after_kill` at most.
    """

    between: float = 0.5
    in_all: float = 3.0
    after_kill: float = 1.0


@dataclass(eq=False)
class _Managed:
    """A child and its state."""

    child: Child
    ready: asyncio.Future[None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    pid: int | None = None
    ending: str | None = None
    task: asyncio.Task[None] | None = None

    def set_ready(self) -> None:
        if not self.ready.done():
            self.ready.set_result(None)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the child's process group, if it still runs."""
        if self.pid is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)


class Supervisor:
    """Runs children, in the order in which they are given, and stops them in reverse.

    Args:
        show: called with a child's name and each line that the child prints.
        announce: called with a message for each child that has ended and will be restarted.
    """

    def __init__(
        self,
        *,
        show: Callable[[str, str], None],
        announce: Callable[[str], None],
        delays: RestartDelays = RestartDelays(),
        patience: Patience = Patience(),
    ) -> None:
        self._show = show
        self._announce = announce
        self._delays = delays
        self._patience = patience
        self._all_managed: list[_Managed] = []
        self._stopping = asyncio.Event()

    async def run(self, child: Child, *, within: float = SECONDS_TO_BE_READY) -> None:
        """Run `child` once, to its end.

        Raises:
            ChildFailed: it could not be started, failed, or took longer than `within` seconds.
        """
        managed = self._manage(child)
        managed.task = asyncio.create_task(self._run_once(managed))
        done, _ = await asyncio.wait([managed.task], timeout=within)
        if not done:
            raise ChildFailed(f"{child.name} did not finish within {within:g} seconds")
        if managed.ending != GOOD_ENDING:
            raise ChildFailed(f"{child.name} {managed.ending}")

    async def start(self, child: Child, *, within: float = SECONDS_TO_BE_READY) -> None:
        """Start `child`, wait until it is ready, and from then on restart it whenever it ends.

        Raises:
            ChildFailed: it ended before it was ready, or was not ready `within` seconds.
        """
        managed = self._manage(child)
        managed.task = asyncio.create_task(self._keep_running(managed))
        polling = asyncio.create_task(_poll(managed))
        try:
            async with asyncio.timeout(within):
                await managed.ready
        except TimeoutError:
            problem = f"{child.name} was not ready within {within:g} seconds"
            raise ChildFailed(problem) from None
        finally:
            polling.cancel()

    async def stop(self) -> None:
        """Ask each child to end, the last started first. Kill those that do not end in time."""
        self._stopping.set()
        deadline = asyncio.get_running_loop().time() + self._patience.in_all
        for managed in reversed(self._all_managed):
            managed.signal(signal.SIGTERM)
            if not managed.child.stops_in_parallel:
                await self._ended(managed, within=self._patience.between)
        for managed in self._all_managed:
            await self._ended(managed, within=deadline - asyncio.get_running_loop().time())
        self.kill()
        for managed in self._all_managed:
            await self._ended(managed, within=self._patience.after_kill)

    def kill(self) -> None:
        """Kill every child at once. A running `stop` returns as soon as they have ended."""
        self._stopping.set()
        for managed in self._all_managed:
            managed.signal(signal.SIGKILL)

    def _manage(self, child: Child) -> _Managed:
        managed = _Managed(child)
        self._all_managed.append(managed)
        return managed

    async def _ended(self, managed: _Managed, *, within: float) -> None:
        if managed.task is not None:
            await asyncio.wait([managed.task], timeout=max(within, 0))

    async def _run_once(self, managed: _Managed) -> None:
        managed.ending = await self._run(managed)

    async def _keep_running(self, managed: _Managed) -> None:
        delay = None
        clock = asyncio.get_running_loop().time
        while not self._stopping.is_set():
            began = clock()
            ending = await self._run(managed)
            if self._stopping.is_set():
                return
            if not managed.ready.done():
                managed.ready.set_exception(
                    ChildFailed(f"{managed.child.name} {ending} before it was ready")
                )
                return
            delay = self._delays.next(delay, clock() - began)
            self._announce(f"{managed.child.name} {ending}; starting it again in {delay:g} s")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), delay)

    async def _run(self, managed: _Managed) -> str:
        """Run the child once, to its end. Returns how it ended, in words."""
        try:
            pid, process = await _spawn(managed.child, lambda line: self._show_line(managed, line))
        except OSError as error:
            return f"could not be started ({error.strerror})"
        managed.pid = pid
        if self._stopping.is_set():
            managed.signal(signal.SIGKILL)
        if managed.child.ready_words is None and managed.child.ready_check is None:
            managed.set_ready()
        status = await process.exited
        # Kill what it has started too: that may hold a port that the next run needs.
        managed.signal(signal.SIGKILL)
        managed.pid = None
        await asyncio.wait([process.output_ended], timeout=self._patience.after_kill)
        process.close()
        return _ending(status)

    def _show_line(self, managed: _Managed, line: str) -> None:
        self._show(managed.child.name, line)
        words = managed.child.ready_words
        if words is not None and words in line:
            managed.set_ready()


class _Process(asyncio.SubprocessProtocol):
    """One run of a child. Passes on its output line by line, as text.

    asyncio's own `Process.wait` also waits for the end of the output, which may never come: a
    process that the child left behind can keep it open.
    """

    exited: asyncio.Future[int]
    output_ended: asyncio.Future[None]

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self._on_line = on_line
        self._rest = b""
        loop = asyncio.get_running_loop()
        self.exited, self.output_ended = loop.create_future(), loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.SubprocessTransport, transport)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) >= LONGEST_LINE_BYTES:  # Do not wait for its end.
            lines.append(self._rest)
            self._rest = b""
        for line in lines:
            self._hand_over(line)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        if self._rest:
            self._hand_over(self._rest)
        self.output_ended.set_result(None)

    def process_exited(self) -> None:
        self.exited.set_result(cast(int, self._transport.get_returncode()))

    def close(self) -> None:
        self._transport.close()

    def _hand_over(self, line: bytes) -> None:
        self._on_line(line.decode(errors="replace").rstrip("\r"))


async def _poll(managed: _Managed) -> None:
    check = managed.child.ready_check
    if check is None:
        return
    while not await check():  # noqa: ASYNC110 (it asks another process)
        await asyncio.sleep(SECONDS_BETWEEN_READY_CHECKS)
    managed.set_ready()


async def _spawn(child: Child, on_line: Callable[[str], None]) -> tuple[int, _Process]:
    transport, process = await asyncio.get_running_loop().subprocess_exec(
        lambda: _Process(on_line),
        *child.command,
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=STDOUT,
        env=dict(child.environment),
        cwd=child.directory,
        start_new_session=True,
        preexec_fn=_die_with(os.getpid()) if sys.platform == "linux" else None,
    )
    return transport.get_pid(), process


_PR_SET_PDEATHSIG = 1


def _die_with(parent: int) -> Callable[[], None]:
    """A `preexec_fn` that has the kernel kill the new process when `parent` ends.

    What it needs is looked up before the fork.
    """
    prctl = ctypes.CDLL(None).prctl
    number = int(signal.SIGKILL)

    def die_with_parent() -> None:
        prctl(_PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:  # It has ended already, so no signal will come.
            os._exit(1)

    return die_with_parent


def _ending(status: int) -> str:
    if status >= 0:
        return f"ended with exit status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"
