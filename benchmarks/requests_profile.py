"""Where a Python process spends its time, sampled from outside by py-spy."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from rich.table import Table

SAMPLES_PER_SECOND: Final = 200
SECONDS_TO_WRITE: Final = 30.0
MOST_ROWS: Final = 20

_OURS: Final = frozenset({"lepret", "loans", "readmodels"})
_FRAME: Final = re.compile(r"(.+) \((.+?)(?:\.py)?\)")


class Function(NamedTuple):
    """A function, as a frame of a stack names it."""

    name: str
    file: str

    @property
    def package(self) -> str:
        return self.file.split("/")[0]


class Profile:
    """Counts the sampled stacks of the threads that held the interpreter's lock (GIL)."""

    def __init__(self) -> None:
        self._stacks: Counter[tuple[Function, ...]] = Counter()

    def add(self, line: str) -> None:
        """Add a line of py-spy's output: a stack, outermost frame first, and its count."""
        stack, _, times = line.rpartition(" ")
        frames = (_FRAME.fullmatch(frame) for frame in stack.split(";"))
        functions = tuple(Function(*frame.groups()) for frame in frames if frame)
        self._stacks[functions] += int(times)

    def tables(self) -> Iterator[Table]:
        """The shares of packages, including the standard library that they call, and of the
        project's functions, including all that they call.
        """
        packages: Counter[str] = Counter()
        functions: Counter[str] = Counter()
        for stack, times in self._stacks.items():
            packages[_innermost_package(stack)] += times
            for function in {each for each in stack if each.package in _OURS}:
                functions[f"{function.name} ({function.file})"] += times
        yield self._shares("by package", packages)
        yield self._shares("the project's functions, with what they call", functions)

    def _shares(self, title: str, seen: Counter[str]) -> Table:
        table = Table("", title=f"The web server's time, {title}")
        table.add_column("percent", justify="right")
        for name, times in seen.most_common(MOST_ROWS):
            table.add_row(name, f"{100 * times / self._stacks.total():.1f}")
        return table


def py_spy() -> str:
    """The path of py-spy.

    Raises:
        SystemExit: it is not installed.
    """
    program = shutil.which("py-spy")
    if program is None:
        sys.exit("There is no py-spy: run this with `uv run --group test --with py-spy python …`.")
    return program


@contextmanager
def profiled(pid: int, profile: Profile) -> Iterator[None]:
    """Sample a process until the block ends, and add the stacks to `profile`."""
    with tempfile.NamedTemporaryFile(prefix="profile-") as file:
        spy = subprocess.Popen(
            [
                *(py_spy(), "record", "--pid", str(pid), "--output", file.name),
                # Pausing the process for each sample would cost more time than is measured.
                *("--gil", "--nonblocking", "--nolineno"),
                *("--format", "raw", "--rate", str(SAMPLES_PER_SECOND)),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            yield
        finally:
            spy.send_signal(signal.SIGINT)
            spy.wait(SECONDS_TO_WRITE)
        for line in Path(file.name).read_text().splitlines():
            profile.add(line)


def _innermost_package(stack: tuple[Function, ...]) -> str:
    packages = (function.package for function in reversed(stack))
    return next((each for each in packages if not _is_of_python(each)), "Python")


def _is_of_python(package: str) -> bool:
    return package in sys.stdlib_module_names or package.startswith("<")
