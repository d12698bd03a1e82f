"""What the doctor says of databases: a real PostgreSQL with passwords, and SQLite's files."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from django.db import connections
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from pytest_django import DjangoDbBlocker

from lepret.deployment.database_roles import set_up_roles
from lepret.doctor.databases import answers_and_can_be_written, migrations_are_applied
from lepret.doctor.report import Trouble
from lepret.environment import database_settings
from tests.support.postgresql import running_server
from tests.support.processes import free_port, wait_until

ALIAS = "readmodels"
PASSWORD = "hid/den@: %#?"

Use = Callable[[str], None]


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch, django_db_blocker: DjangoDbBlocker) -> Iterator[Use]:
    """Has the settings name the database at a URL."""

    def use(url: str) -> None:
        configured = connections.configure_settings({"default": {}, ALIAS: database_settings(url)})
        monkeypatch.setitem(connections.settings, ALIAS, configured[ALIAS])
        with suppress(AttributeError):
            del connections[ALIAS]

    with django_db_blocker.unblock():
        yield use
    with suppress(AttributeError):
        del connections[ALIAS]


def trouble(use: Use, url: str) -> str:
    """What is said of the database at `url`, which is not fine."""
    use(url)
    with pytest.raises(Trouble) as raised:
        answers_and_can_be_written(ALIAS)
    said = str(raised.value)
    assert PASSWORD not in said
    assert quote(PASSWORD, safe="") not in said
    assert "hid" not in said
    assert "\n" not in said
    return said


@dataclass(frozen=True)
class Server:
    """A PostgreSQL that wants passwords of all but its owner."""

    owner_url: str
    directory: str

    def url(self, user: str, password: str, name: str = "loans") -> str:
        credentials = f"{user}:{quote(password, safe='')}"
        return f"postgresql://{credentials}@/{name}?host={quote(self.directory, safe='')}"

    @contextmanager
    def owner(self, name: str = "postgres") -> Iterator[psycopg.Connection]:
        with psycopg.connect(self.owner_url, dbname=name, autocommit=True) as connection:
            yield connection


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running_server() as running:
        server = Server(running.get_uri(), str(running.pgdata))
        with server.owner() as owner:
            owner.execute("CREATE DATABASE loans")
            owner.execute("CREATE ROLE idle LOGIN")
            owner.execute("CREATE ROLE outside LOGIN")
        with server.owner("loans") as owner:
            owner.execute("CREATE TABLE accounts (id integer)")
            owner.execute("CREATE TABLE readmodels_checkpoint (id integer)")
            set_up_roles(owner, web_password=PASSWORD, projector_password=PASSWORD)
            owner.execute("GRANT CONNECT ON DATABASE loans TO idle")
            # Hashed by the server, which logs nothing here.
            for role in ("idle", "outside"):
                owner.execute(f"ALTER ROLE {role} PASSWORD '{PASSWORD}'")
            [(rules,)] = owner.execute("SHOW hba_file").fetchall()
            Path(rules).write_text("local all postgres trust\nlocal all all scram-sha-256\n")
            owner.execute("SELECT pg_reload_conf()")
        wait_until(lambda: wants_passwords(server), what="PostgreSQL wants passwords")
        yield server


def wants_passwords(server: Server) -> bool:
    try:
        psycopg.connect(server.url("lepret_web", "another")).close()
    except psycopg.OperationalError:
        return True
    return False


class TestPostgreSQL:
    @pytest.mark.parametrize("role", ["lepret_web", "lepret_projector"])
    def test_with_its_rights_each_role_finds_it_fine(
        self, server: Server, use: Use, role: str
    ) -> None:
        use(server.url(role, PASSWORD))
        found = answers_and_can_be_written(ALIAS)
        assert found.startswith("PostgreSQL 18")
        assert found.endswith(f"loans as {role}")

    @pytest.mark.parametrize(
        ("user", "password", "name", "words"),
        [
            ("lepret_web", "hid-another", "loans", "refuses the password of lepret_web: correct"),
            ("lepret_web", "", "loans", "wants a password for lepret_web, and READMODELS_DATABASE"),
            # A role that is not there looks to PostgreSQL's clients like a wrong password.
            ("nobody", PASSWORD, "loans", "refuses the password of nobody"),
            ("lepret_web", PASSWORD, "none", "has no database none: create it"),
            ("outside", PASSWORD, "loans", "outside may not connect to loans"),
            ("idle", PASSWORD, "loans", "idle may write no table of loans"),
        ],
    )
    def test_who_has_no_way_in_is_told_why(
        self, server: Server, use: Use, user: str, password: str, name: str, words: str
    ) -> None:
        assert words in trouble(use, server.url(user, password, name))

    def test_one_that_is_read_only_is_wrong(self, server: Server, use: Use) -> None:
        with server.owner() as owner:
            owner.execute("ALTER DATABASE loans SET default_transaction_read_only = on")
            try:
                said = trouble(use, server.url("lepret_web", PASSWORD))
            finally:
                owner.execute("ALTER DATABASE loans RESET default_transaction_read_only")
        assert "can only be read" in said

    @pytest.mark.parametrize(
        ("address", "words"),
        [
            ("127.0.0.1:{}/loans", "nothing listens at 127.0.0.1:"),
            ("host.invalid/loans", "there is no host host.invalid"),
            ("/loans?host=%2Fno%2Fsuch", "nothing listens at /no/such:5432"),
        ],
    )
    def test_a_wrong_address_is_to_be_corrected(self, use: Use, address: str, words: str) -> None:
        credentials = f"me:{quote(PASSWORD, safe='')}"
        said = trouble(use, f"postgresql://{credentials}@{address.format(free_port())}")
        assert words in said
        assert "correct READMODELS_DATABASE_URL" in said

    def test_several_hosts_are_no_mistake_of_the_password(self, use: Use) -> None:
        hosts = f"127.0.0.1:{free_port()},127.0.0.1:{free_port()}"
        said = trouble(use, f"postgresql://me:{quote(PASSWORD, safe='')}@{hosts}/loans")
        assert "nothing listens at 127.0.0.1,127.0.0.1:" in said

    def test_a_password_that_is_not_encoded_is_named_as_the_mistake(self, use: Use) -> None:
        for password in ("hid/den", "hid@den", "hid:@/den"):
            said = trouble(use, f"postgresql://me:{password}@127.0.0.1:1/loans")
            assert said.startswith("READMODELS_DATABASE_URL cannot be read: percent-encode")

    def test_migrations_that_are_not_applied_are_counted(self, server: Server, use: Use) -> None:
        with server.owner() as owner:
            owner.execute("CREATE DATABASE fresh")
        use(f"{server.owner_url.replace('/postgres?', '/fresh?')}")
        with pytest.raises(Trouble, match=r"^\d+ not applied .* manage.py migrate --database"):
            migrations_are_applied([ALIAS])


class TestSQLite:
    def test_a_file_is_fine(self, tmp_path: Path, use: Use) -> None:
        file = tmp_path / "lepret.sqlite3"
        sqlite3.connect(file).close()
        file.touch()
        use(f"sqlite:///{file}")
        assert answers_and_can_be_written(ALIAS).endswith(f"in {file}")

    def test_none_is_made(self, tmp_path: Path, use: Use) -> None:
        file = tmp_path / "lepret.sqlite3"
        assert trouble(use, f"sqlite:///{file}").startswith(f"there is no {file}: run")
        assert not file.exists()

    def test_another_file_is_told_apart(self, tmp_path: Path, use: Use) -> None:
        file = tmp_path / "letters.txt"
        file.write_text("this is no database" * 100)
        assert "is damaged, or no database" in trouble(use, f"sqlite:///{file}")

    def test_one_that_somebody_writes_for_ever_is_locked(
        self, tmp_path: Path, use: Use, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("lepret.doctor.databases.SECONDS_FOR_AN_ANSWER", 0.1)
        file = tmp_path / "lepret.sqlite3"
        with closing(sqlite3.connect(file, isolation_level=None)) as other:
            other.execute("PRAGMA journal_mode=WAL")
            other.execute("BEGIN IMMEDIATE")
            assert "another process has been writing" in trouble(use, f"sqlite:///{file}")

    def test_the_memory_of_a_process_without_a_database_is_none(self, use: Use) -> None:
        use("sqlite:///")
        none = "none: this process is configured to use no database"
        assert answers_and_can_be_written(ALIAS) == none
        assert migrations_are_applied([ALIAS]) == none

    def test_one_migration_is_enough_to_be_wrong(self, tmp_path: Path, use: Use) -> None:
        file = tmp_path / "lepret.sqlite3"
        file.touch()
        use(f"sqlite:///{file}")
        recorder = MigrationRecorder(connections[ALIAS])
        recorder.ensure_schema()
        for app, name in MigrationLoader(None).disk_migrations:
            recorder.record_applied(app, name)
        assert migrations_are_applied([ALIAS]) == "all are applied"
        app, last = MigrationLoader(None).graph.leaf_nodes("lepret")[0]
        recorder.record_unapplied(app, last)
        with pytest.raises(Trouble, match=rf"^1 not applied .*, first lepret\.{last}"):
            migrations_are_applied([ALIAS])
        connections[ALIAS].close()
