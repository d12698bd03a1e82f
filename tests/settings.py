"""The project's settings as the tests have them: no environment but what the tests start."""

from __future__ import annotations

import os
import tempfile

# The machine's own settings, or a running demo's, must not leak into a test.
for name in (
    "EVENTSTORE_URI",
    "DATABASE_URL",
    "READMODELS_DATABASE_URL",
    "REDIS_URL",
    "LEPRET_HMAC_KEY",
    "CREDIT_BUREAU_URL",
    "CREDIT_BUREAU_LATENCY_SECONDS",
    "API_RATE",
    "API_ANONYMOUS_RATE",
    "API_PROXIES",
):
    os.environ.pop(name, None)
os.environ["LEPRET_DATA_DIR"] = tempfile.mkdtemp(prefix="lepret-tests-")
os.environ["DJANGO_SECRET_KEY"] = "only-for-tests-" + "x" * 50
os.environ["DJANGO_HTTPS"] = "false"

from lepret.settings import *  # noqa: E402, F403

CREDIT_BUREAU_LATENCY_SECONDS = 0.0
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
