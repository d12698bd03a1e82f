"""Two versions of the program side by side, as while it is updated, and back to the older one.

Both share event store, databases and Valkey. `LoanRequested` has another schema in the newer one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import UUID

import httpx2
import pytest

from readmodels.projections import PROJECTIONS
from tests.support.api import application
from tests.support.event_store import running_event_store
from tests.support.fork_server import Forked, ForkServer, fork_server
from tests.support.newer_version import newer_version_in
from tests.support.nodes import UNDERWRITER, Node, node
from tests.support.processes import PROJECT, wait_until
from tests.support.projectors import environment
from tests.support.read_models import ReadModelsDatabase
from tests.support.valkey import RunningValkey
from tests.support.web_servers import post

SECONDS: Final = 120.0

WAITING: Final = "waiting for a newer version"
READERS: Final = {name for name, each in PROJECTIONS.items() if "LoanRequested" in each.takes}


@dataclass
class Versions:
    """The web servers of the two versions, and their commands."""

    older: Node
    newer: Node

    def wait_until_level(self) -> None:
        for each in (self.older, self.newer):
            each.wait_until_level()

    def wait_until_waiting(self) -> None:
        """Until the older version waits, and nothing has failed."""

        def waits() -> bool:
            statuses = self.older.statuses()
            assert all(each["failure"] is None for each in statuses.values())
            return all(statuses[name]["state"] == WAITING for name in READERS)

        wait_until(waits, SECONDS, what=WAITING)


@pytest.fixture(params=["sqlite", "postgresql"])
def versions(
    request: pytest.FixtureRequest, shared_valkey: RunningValkey, tmp_path: Path
) -> Iterator[Versions]:
    read_models_url = f"sqlite:///{tmp_path}/readmodels.sqlite3"
    if request.param == "postgresql":
        read_models_url = request.getfixturevalue("postgresql").new_database()
    with ExitStack() as stack:
        store = stack.enter_context(running_event_store(tmp_path / "events"))
        variables = environment(store, ReadModelsDatabase("readmodels", read_models_url)) | {
            "DATABASE_URL": f"sqlite:///{tmp_path}/main.sqlite3",
            "REDIS_URL": shared_valkey.url,
            "LEPRET_DATA_DIR": str(tmp_path),
        }
        (tmp_path / "newer").mkdir()
        projects = {"older": PROJECT, "newer": newer_version_in(tmp_path / "newer")}
        forks = {}
        for name, project in projects.items():
            (tmp_path / f"{name}-output").mkdir()
            forks[name] = stack.enter_context(
                fork_server(variables, tmp_path / f"{name}-output", project)
            )
        migrate(forks["newer"])
        yield Versions(
            *(
                stack.enter_context(node(name, variables, forks[name], project))
                for name, project in projects.items()
            )
        )


def migrate(forks: ForkServer) -> None:
    for arguments in (
        ("migrate", "--database", "readmodels", "-v0"),
        ("migrate", "-v0"),
        ("shell", "-v0", "-c", UNDERWRITER),
    ):
        assert forks.run(*arguments).status == 0


def test_an_older_version_stands_aside_in_both_orders_and_after_going_back(
    versions: Versions,
) -> None:
    older, newer = versions.older, versions.newer
    old_projector = older.start_projector()
    versions.wait_until_level()

    # Web is newer than the projector.
    first = newer.apply_for_review().loan
    versions.wait_until_waiting()
    assert_decides_nothing(older, first)
    assert "waiting: a projector of that version goes on" in old_projector.output
    assert "is stopped" not in old_projector.output

    # The newer projector comes, and the older one stays.
    new_projector = newer.start_projector()
    versions.wait_until_level()
    assert_both_show(versions, first)
    for web in (older, newer):
        assert_both_show(versions, web.apply_for_review().loan)
    with newer.underwriter() as underwriter:
        underwriter.approve(first)
    older.wait_for(first, "approved")

    # The newer one was there before.
    old_projector.kill()
    old_projector = older.start_projector()
    for web in (newer, older):
        assert_both_show(versions, web.apply_for_review().loan)
    assert new_projector.stop() == 0

    # Back to the older version.
    own = older.apply_for_review().loan
    older.wait_for(own, "under_review")
    lost = newer.apply_for_review().loan
    versions.wait_until_waiting()
    later = older.apply_for_review().loan
    assert older.status_of(later) == "received"

    assert_goes_back_for_good(versions, [own, later], lost)
    assert old_projector.stop() == 0
    new_projector = newer.start_projector()
    newer.wait_for(lost, "under_review")
    versions.wait_until_level()
    assert_stops_well(new_projector)


def assert_decides_nothing(web: Node, loan: UUID) -> None:
    """An older web server says to an underwriter that it is being updated."""
    with web.underwriter() as underwriter:
        browser = underwriter.browser
        htmx = {"HX-Request": "true", "X-CSRFToken": browser.cookies["csrftoken"]}
        path = f"/underwriting/{loan}/approve/"
        answer = browser.post(path, data={"shown_revision": "2"}, headers=htmx)
        assert answer.status_code == httpx2.codes.SERVICE_UNAVAILABLE
        assert "being updated" in answer.text
        answer = post(browser, path, shown_revision="2")
        assert answer.status_code == httpx2.codes.FOUND
        assert "being updated" in browser.get("/underwriting/").text
    answer = web.try_to_apply(application(id=str(loan)))
    assert answer.status_code == httpx2.codes.SERVICE_UNAVAILABLE
    assert "being updated" in answer.json()["detail"]


def assert_both_show(versions: Versions, loan: UUID) -> None:
    for each in (versions.older, versions.newer):
        each.wait_for(loan, "under_review")


def assert_goes_back_for_good(versions: Versions, own: list[UUID], lost: UUID) -> None:
    """The older version builds its rows without what it cannot read, and goes on."""
    older = versions.older
    plain = older.forks.run("rebuild", "loan_status")
    assert plain.status == 1
    assert "written by a newer version of the program (schema 2)" in plain.output
    back = older.forks.run("rebuild", "--older-version")
    assert back.status == 0, back.output
    own = [*own, older.apply_for_review().loan]
    for loan in own:
        older.wait_for(loan, "under_review")
    older.wait_until_level()
    assert older.status_of(lost) == "received"


def assert_stops_well(projector: Forked) -> None:
    assert projector.stop() == 0
    assert "is stopped" not in projector.output
