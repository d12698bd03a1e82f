"""Runs the project's scripts for a benchmark, each in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

PROJECT: Final = Path(__file__).resolve().parent.parent


def environment_with(**variables: str) -> dict[str, str]:
    """This process's environment with what Django needs, and these variables.

    The read models are in the default database.
    """
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "lepret.settings",
        "DJANGO_SECRET_KEY": "only-for-a-benchmark-" + "x" * 50,
        **variables,
    }
    environment.pop("READMODELS_DATABASE_URL", None)
    return environment


def output_of(environment: dict[str, str], script: str, *arguments: str) -> str:
    """What a script prints.

    Raises:
        CalledProcessError: it failed.
    """
    done = subprocess.run(
        [sys.executable, script, *arguments],
        cwd=PROJECT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout
