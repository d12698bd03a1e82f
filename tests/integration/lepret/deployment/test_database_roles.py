"""PostgreSQL's roles: the system works with them, and they can do no more.

A web server runs with its role and a projector with its own, in processes as in production.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import psycopg
import pytest
from django.core.management import CommandError, call_command
from psycopg.errors import InsufficientPrivilege

from lepret.deployment.database_roles import READ_MODELS
from readmodels.projections import PROJECTIONS
from tests.support.event_store import RunningEventStore, running_event_store
from tests.support.fork_server import ForkServer, fork_server
from tests.support.nodes import PASSWORD, USERNAME, Node, node
from tests.support.postgresql import RunningPostgreSQL
from tests.support.projectors import environment
from tests.support.read_models import ReadModelsDatabase
from tests.support.valkey import RunningValkey
from tests.support.web_servers import post

MAKE_STAFF: Final = f"""
from django.contrib.auth.models import Group, User
from lepret.staff.roles import BACK_OFFICE, UNDERWRITERS
uma = User.objects.create_user({USERNAME!r}, password={PASSWORD!r}, is_staff=True)
uma.groups.set(Group.objects.filter(name__in=[BACK_OFFICE, UNDERWRITERS]))
User.objects.create_superuser("chief", password={PASSWORD!r})
"""


@dataclass(frozen=True)
class System:
    """A running system, with commands of each of its three roles."""

    web: Node
    projector: ForkServer
    owner: ForkServer
    owner_url: str

    def url_of(self, role: str) -> str:
        parts = urlsplit(self.owner_url)
        return parts._replace(netloc=f"{role}@{parts.hostname or ''}").geturl()

    def as_role(self, role: str) -> psycopg.Connection:
        return psycopg.connect(self.url_of(role), autocommit=True)


@pytest.fixture(scope="module")
def own_event_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningEventStore]:
    with running_event_store(tmp_path_factory.mktemp("events")) as store:
        yield store


@pytest.fixture(scope="module")
def system(
    own_event_store: RunningEventStore,
    shared_valkey: RunningValkey,
    postgresql: RunningPostgreSQL,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[System]:
    directory = tmp_path_factory.mktemp("roles")
    url = postgresql.new_database()
    common = environment(own_event_store, ReadModelsDatabase("default", url)) | {
        "REDIS_URL": shared_valkey.url,
        "LEPRET_DATA_DIR": str(directory),
        "READMODELS_DATABASE_URL": "",
    }
    with ExitStack() as stack:
        owner = stack.enter_context(forks({**common, "DATABASE_URL": url}, directory / "owner"))
        run(owner, "migrate", "-v0")
        set_up_roles(owner, directory)
        parts = urlsplit(url)
        web_url, projector_url = (
            parts._replace(netloc=f"{role}@{parts.hostname or ''}").geturl()
            for role in ("lepret_web", "lepret_projector")
        )
        web_variables = {**common, "DATABASE_URL": web_url}
        of_web = stack.enter_context(forks(web_variables, directory / "web"))
        projector = stack.enter_context(
            forks({**common, "DATABASE_URL": projector_url}, directory / "projector")
        )
        run(of_web, "shell", "-v0", "-c", MAKE_STAFF)
        web = stack.enter_context(node("web", web_variables, of_web))
        projector.start("project", name="projector")
        web.wait_until_level()
        yield System(web, projector, owner, url)


@contextmanager
def forks(variables: dict[str, str], directory: Path) -> Iterator[ForkServer]:
    directory.mkdir()
    with fork_server(variables, directory) as server:
        yield server


def run(server: ForkServer, *arguments: str) -> str:
    command = server.run(*arguments)
    assert command.status == 0, command.output
    return command.output


def set_up_roles(owner: ForkServer, directory: Path) -> None:
    (directory / "web-password").write_text("one\n")
    (directory / "projector-password").write_text("two\n")
    run(
        owner,
        "database_roles",
        *("--web-password-file", str(directory / "web-password")),
        *("--projector-password-file", str(directory / "projector-password")),
    )


def test_staff_log_in_decide_and_look_at_everything(system: System) -> None:
    loan = system.web.apply_for_review().loan
    system.web.wait_for(loan, "under_review")
    with system.web.underwriter() as uma:
        assert uma.sees(loan)
        uma.approve(loan)
    system.web.wait_for(loan, "approved")
    with system.web.browser("chief", PASSWORD) as chief:
        for path in (
            "/admin/",
            "/admin/auth/user/",
            "/admin/readmodels/loanrequest/",
            "/admin/readmodels/checkpoint/",
        ):
            assert chief.get(path).status_code == 200, path


def test_the_admin_makes_users_and_tokens(system: System) -> None:
    with system.web.browser("chief", PASSWORD) as chief:
        chief.get("/admin/auth/user/add/")
        answer = post(
            chief,
            "/admin/auth/user/add/",
            username="clerk",
            password1="long-and-hard-9",
            password2="long-and-hard-9",
            usable_password="true",
        )
        assert answer.status_code == 302, answer.text
    output = run(
        system.web.forks, "api_token", "create", USERNAME, "--name", "a", "--scope", "queue:read"
    )
    assert output.strip()
    run(system.web.forks, "clearsessions")


def test_a_read_model_is_built_anew_and_its_new_table_is_read(system: System) -> None:
    loan = system.web.apply_for_review().loan
    system.web.wait_for(loan, "under_review")
    run(system.projector, "rebuild")
    system.web.wait_until_level()
    later = system.web.apply_for_review().loan
    system.web.wait_for(later, "under_review")
    assert system.web.status_of(loan) == "under_review"
    with system.web.underwriter() as uma:
        assert uma.sees(loan)


def test_rights_hold_after_further_migrations(system: System, tmp_path: Path) -> None:
    run(system.owner, "migrate", "-v0")
    set_up_roles(system.owner, tmp_path)
    test_a_read_model_is_built_anew_and_its_new_table_is_read(system)


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE mine (id int)",
        "CREATE TEMPORARY TABLE mine (id int)",
        "CREATE SCHEMA mine",
        "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "ALTER TABLE auth_user ADD COLUMN mine int",
        "ALTER TABLE auth_user DISABLE TRIGGER ALL",
        "ALTER TABLE readmodels_loanstatus RENAME TO mine",
        "DROP TABLE django_session",
        "DROP TABLE readmodels_loanstatus",
        "TRUNCATE auth_user",
        "CREATE INDEX mine ON auth_user (email)",
        "DELETE FROM readmodels_loanstatus",
        "UPDATE readmodels_checkpoint SET position = 0",
        "INSERT INTO readmodels_skippedevent DEFAULT VALUES",
        "DELETE FROM django_migrations",
        "CREATE ROLE mine",
        "ALTER ROLE lepret_web SUPERUSER",
        "SET ROLE lepret_projector",
        "SELECT pg_read_file('/etc/passwd')",
        "COPY auth_user TO PROGRAM 'cat'",
    ],
)
def test_the_web_server_s_role_cannot(system: System, statement: str) -> None:
    with system.as_role("lepret_web") as web, pytest.raises(InsufficientPrivilege):
        web.execute(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM auth_user",
        "SELECT * FROM django_session",
        "SELECT * FROM lepret_apitoken",
        "INSERT INTO auth_group (name) VALUES ('mine')",
        "ALTER TABLE auth_user ADD COLUMN mine int",
        "DROP TABLE django_session",
        "CREATE SCHEMA mine",
        "CREATE ROLE mine",
        "SET ROLE lepret_web",
    ],
)
def test_the_projector_s_role_cannot(system: System, statement: str) -> None:
    with system.as_role("lepret_projector") as projector, pytest.raises(InsufficientPrivilege):
        projector.execute(statement)


def test_nobody_else_can_connect(system: System) -> None:
    with psycopg.connect(system.owner_url, autocommit=True) as owner:
        owner.execute("DROP ROLE IF EXISTS stranger")
        owner.execute("CREATE ROLE stranger LOGIN")
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        system.as_role("stranger")


def test_passwords_are_not_sent_to_the_server(system: System) -> None:
    with psycopg.connect(system.owner_url) as owner:
        query = "SELECT rolpassword FROM pg_authid WHERE rolname = 'lepret_web'"
        (hashed,) = owner.execute(query).fetchone() or ("",)
    assert hashed.startswith("SCRAM-SHA-256$")


def test_sqlite_has_no_roles() -> None:
    with pytest.raises(CommandError, match=r"is not PostgreSQL's"):
        call_command("database_roles", web_password_file="x", projector_password_file="x")


def test_every_projection_s_table_is_a_read_model_s(system: System) -> None:
    """The roles' rights follow from the names of tables."""
    with psycopg.connect(system.owner_url) as owner:
        owned = owner.execute(
            "SELECT tablename FROM pg_tables WHERE tableowner = 'lepret_projector'"
        ).fetchall()
    tables = {table for (table,) in owned}
    assert {each.model._meta.db_table for each in PROJECTIONS.values()} <= tables
    assert all(table.startswith(READ_MODELS) for table in tables)
