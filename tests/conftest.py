"""Sets up what must be so before pytest loads its plugins, also in the workers."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec

import pytest

pytest_plugins = ["tests.fixtures"]

# Where an environment says that Python shall not keep compiled modules, each of the hundreds of
# processes that tests start would compile all of Django again, for seconds.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


def pytest_addoption(pluginmanager: pytest.PytestPluginManager) -> None:
    """Start pytest again with the dependency group `test`, unless that is installed.

    The demo need not install it, and `uv run pytest` does.
    """
    if find_spec("pytest_django") is not None:
        return
    pluginmanager.getplugin("capturemanager").stop_global_capturing()
    uv = os.environ.get("UV", "uv")
    # If uv does not install it, `-p` makes pytest fail; otherwise this would restart for ever.
    again = [uv, "run", "--group", "test", "pytest", "-p", "pytest_django", *sys.argv[1:]]
    os.execvp(uv, again)  # noqa: S606 (there is nothing here for a shell to do)
