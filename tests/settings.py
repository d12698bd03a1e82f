"""The project's settings for tests, independent of the environment that they run in."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from lepret.environment import Environment

# Settings of the machine or of a running demo must not leak into a test.
for name in Environment.variables():
    os.environ.pop(name, None)
    os.environ.pop(f"{name}_FILE", None)
os.environ["LEPRET_DATA_DIR"] = tempfile.mkdtemp(prefix="lepret-tests-")
os.environ["DJANGO_SECRET_KEY"] = "only-for-tests-" + "x" * 50
os.environ["DJANGO_HTTPS"] = "false"
# Tests start hundreds of processes, which import the same modules: these are compiled once for all,
# where the machine does not want that beside the sources, in a folder of the system.
if os.environ.pop("PYTHONDONTWRITEBYTECODE", None):
    os.environ["PYTHONPYCACHEPREFIX"] = str(Path(tempfile.gettempdir()) / "lepret-tests-compiled")

from lepret.settings import *  # noqa: E402, F403

CREDIT_BUREAU_LATENCY_SECONDS = 0.0
CACHES = {"default": {"BACKEND": "tests.support.local_cache.LocalCache"}}
PRESENCE_URL = "redis://127.0.0.1:1/0"  # Nothing listens there.
# All tests apply from one address.
API_ANONYMOUS_RATE = APPLICATIONS_PER_ADDRESS = APPLICATIONS_PER_NATIONAL_ID = None
LOOKUPS_PER_ADDRESS = LOOKUPS_PER_NUMBER = None
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
