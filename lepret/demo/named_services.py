"""Whether the services that the environment names work, before a demo waits for them.

`manage.py doctor` says so, in a process of its own: gRPC's threads must not be in one that starts
others.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

# Their names there, by variable. Whether the credit bureau works is no condition.
_NAMES: Final = {
    "EVENTSTORE_URI": "event_store",
    "DATABASE_URL": "database",
    "READMODELS_DATABASE_URL": "readmodels_database",
    "REDIS_URL": "valkey",
}
_PROJECT: Final = Path(__file__).resolve().parents[2]
# It needs a few; a machine that starts much else at the same time needs more.
_SECONDS: Final = 90.0


class ServicesRefused(Exception):
    """Services do not work; the message has a line for each, which says what to do."""


def refuse_services_in_trouble(urls: Mapping[str, str]) -> None:
    """Ask the services at `urls`, by variable, without a change in them.

    Raises:
        ServicesRefused: some do not work.
    """
    # A SQLite file is made where there is none, and must not be opened where it is another's.
    names = [
        name
        for variable, name in _NAMES.items()
        if (url := urls.get(variable)) and not url.startswith("sqlite:")
    ]
    if not names:
        return
    wrong = [each for each in _examined(names) if not each["is_fine"]]
    if wrong:
        raise ServicesRefused("\n".join(f"{each['name']}: {each['found']}" for each in wrong))


def _examined(names: list[str]) -> list[dict[str, str]]:
    try:
        process = subprocess.run(  # noqa: S603 (a command of ours, by this interpreter)
            [sys.executable, "manage.py", "doctor", "--json", "--no-appends", *names],
            cwd=_PROJECT,
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
        )
        found: list[dict[str, str]] = json.loads(process.stdout)
    except subprocess.TimeoutExpired as error:
        raise _unknown(names, f"has not ended in {_SECONDS:g} s") from error
    except json.JSONDecodeError as error:
        raise _unknown(names, f"has failed with exit status {process.returncode}") from error
    return found


def _unknown(names: list[str], why: str) -> ServicesRefused:
    command = f"manage.py doctor {' '.join(names)}"
    return ServicesRefused(f"{', '.join(names)}: `{command}` {why}: see what it says")
