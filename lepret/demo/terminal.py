"""What the demo prints: its children's lines, each after the child's name, and a banner."""

from __future__ import annotations

import os
import sys
from itertools import cycle
from pathlib import Path

from rich import box
from rich.console import Console, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from lepret.demo.database import ACCOUNTS

_NAME_WIDTH = len("project")
_DEMO = "demo"


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Carry on in silence; rich would end the process."""
        _silence_standard_output()


class Terminal:
    """Prints to standard output, and goes on in silence once nobody reads that."""

    def __init__(self) -> None:
        self._console = _Console(highlight=False)
        self._colours = cycle(["cyan", "magenta", "green", "yellow", "blue"])
        self._styles = {_DEMO: "bold white"}

    def show(self, name: str, line: str) -> None:
        """Print a line of the child `name`."""
        style = self._styles.setdefault(name, next(self._colours))
        prefix = Text(f"{name:>{_NAME_WIDTH}} | ", style=style)
        self._print(prefix + Text.from_ansi(line))

    def say(self, line: str) -> None:
        """Print a line of the demo's own."""
        self.show(_DEMO, line)

    def banner(self, *, url: str, event_store: str, data_dir: Path, password: str | None) -> None:
        """Print where everything is, and who can log in.

        Args:
            url: the web server's address, with a slash at the end.
            password: that of all accounts, if other machines can reach the demo; `None`: each
                account's password is its name.
        """
        grid = Table.grid(padding=(0, 3))
        for row in _addresses(url, event_store, data_dir):
            grid.add_row(*row)
        grid.add_row()
        for account in ACCOUNTS:
            grid.add_row(account.name, f"{account.role} (password: {password or account.name})")
        grid.add_row()
        if password is not None:
            warning = "Other machines can reach this: keep the password to yourself."
            grid.add_row("Beware", Text(warning, style="bold red"))
        grid.add_row("Ctrl-C", "stops everything; the data stays")
        self._print(Panel(grid, title="lepret is ready", box=box.ROUNDED, expand=False))

    def _print(self, what: RenderableType) -> None:
        try:
            self._console.print(what, soft_wrap=True)
        except OSError:
            _silence_standard_output()


def _silence_standard_output() -> None:
    """Discard all further output: the terminal was closed, or the pipe's reader has ended.

    The children must still be supervised, and stopped in an orderly way.
    """
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _addresses(url: str, event_store: str, data_dir: Path) -> list[tuple[str, str]]:
    return [
        ("Apply for a loan", url),
        ("Underwriting", f"{url}underwriting/"),
        ("Back office", f"{url}admin/"),
        ("API", f"{url}api/docs"),
        ("Event store", event_store),
        ("Data", str(data_dir)),
    ]
