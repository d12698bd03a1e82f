"""The whole web server as people reach it, with servers of its own that a test may stop."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import httpx2
import pytest

from tests.support.event_store import RunningEventStore, running_event_store
from tests.support.processes import PATIENCE, PROJECT, wait_until
from tests.support.stoppable_postgresql import StoppablePostgreSQL, stoppable_postgresql
from tests.support.valkey import RunningValkey, running_valkey
from tests.support.web_servers import Daphne, running_daphne

SECONDS_TO_START: Final = 120.0
# More than the web server opens, so that a test can connect, too.
MOST_CONNECTIONS: Final = 40
PASSWORD: Final = "correct horse battery"

_MAKE_BOSS: Final = f"""
from django.contrib.auth.models import Group, User
user = User.objects.create_superuser("boss", password="{PASSWORD}")
user.groups.set(Group.objects.all())
"""


@dataclass(frozen=True)
class System:
    """A web server, logged in to as `boss`, and what it needs."""

    web: Daphne
    postgresql: StoppablePostgreSQL
    event_store: RunningEventStore
    valkey: RunningValkey
    environment: dict[str, str] = field(repr=False)
    cookies: dict[str, str] = field(repr=False)

    def get(self, path: str) -> httpx2.Response:
        """Get a page as `boss`."""
        return self.ask("GET", path)

    def post(self, path: str, **form: str) -> httpx2.Response:
        """Send a form as `boss`."""
        token = {"csrfmiddlewaretoken": self.cookies["csrftoken"]}
        return self.ask("POST", path, data=form | token)

    def ask(self, method: str, path: str, **options: object) -> httpx2.Response:
        """Send a request as `boss`, in a connection of its own."""
        with httpx2.Client(cookies=self.cookies, timeout=PATIENCE, trust_env=False) as client:
            return client.request(method, f"{self.web.base_url}{path}", **options)  # type: ignore[arg-type]

    def manage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return _manage(self.environment, *arguments)


@pytest.fixture(scope="package")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    directory = tmp_path_factory.mktemp("outages")
    with (
        stoppable_postgresql(MOST_CONNECTIONS) as postgresql,
        running_event_store(directory / "events") as event_store,
        running_valkey(directory / "valkey") as valkey,
    ):
        environment = {
            **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
            "LEPRET_DATA_DIR": str(directory),
            "DJANGO_SECRET_KEY": "only-for-tests-" + "x" * 50,
            "DJANGO_HTTPS": "false",
            "DATABASE_URL": postgresql.new_database(),
            "EVENTSTORE_URI": event_store.uri,
            "REDIS_URL": valkey.url,
            "API_ANONYMOUS_RATE": "none",
            "APPLICATIONS_PER_ADDRESS": "none",
            "APPLICATIONS_PER_NATIONAL_ID": "none",
        }
        for arguments in (("migrate", "--verbosity", "0"), ("shell", "--command", _MAKE_BOSS)):
            done = _manage(environment, *arguments)
            assert done.returncode == 0, done.stderr
        with running_daphne(environment) as web:
            wait_until(web.is_ready, SECONDS_TO_START)
            with web.browser("boss", PASSWORD) as browser:
                cookies = dict(browser.cookies)
            yield System(web, postgresql, event_store, valkey, environment, cookies)


def _manage(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=2 * SECONDS_TO_START,
    )
