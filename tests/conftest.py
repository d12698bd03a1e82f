"""Lets `uv run pytest` install what the tests need, so that the demo need not install it too."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec

import pytest

pytest_plugins = ["tests.fixtures"]


def pytest_addoption(pluginmanager: pytest.PytestPluginManager) -> None:
    """Start pytest again with the dependency group `test`, unless that is installed."""
    if find_spec("pytest_django") is not None:
        return
    pluginmanager.getplugin("capturemanager").stop_global_capturing()
    uv = os.environ.get("UV", "uv")
    # If uv does not install it, `-p` makes pytest fail; otherwise this would restart for ever.
    again = [uv, "run", "--group", "test", "pytest", "-p", "pytest_django", *sys.argv[1:]]
    os.execvp(uv, again)  # noqa: S606 (there is nothing here for a shell to do)
