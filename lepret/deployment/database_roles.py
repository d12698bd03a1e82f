"""PostgreSQL roles with no more rights than their processes need.

The owner, whom `migrate` connects as, makes and changes tables. The web server's role reads and
writes rows. The projector's role owns the tables of the read models, since a rebuild puts new
tables in the place of old ones (docs/decisions/0009), and sees nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from psycopg import Connection, sql

WEB: Final = "lepret_web"
PROJECTOR: Final = "lepret_projector"
# How the tables of the read models begin, also those that a rebuild is filling.
READ_MODELS: Final = "readmodels_"
_MIGRATIONS: Final = "django_migrations"


def set_up_roles(owner: Connection, *, web_password: str, projector_password: str) -> None:
    """Make the roles, or bring them and their rights up to date. To be called after `migrate`.

    Raises:
        psycopg.Error: among others, if `owner` may not make roles.
    """
    with owner.transaction():
        for role, password in ((WEB, web_password), (PROJECTOR, projector_password)):
            _make_role(owner, role, password)
        for statement in _rights(owner):
            owner.execute(statement)


def _make_role(owner: Connection, role: str, password: str) -> None:
    name = sql.Identifier(role)
    known = owner.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone()
    if known is None:
        owner.execute(sql.SQL("CREATE ROLE {}").format(name))
    # Hashed here, so that the server can log the statement.
    hashed = owner.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256")
    owner.execute(
        sql.SQL(
            "ALTER ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"
            " PASSWORD {}"
        ).format(name, sql.Literal(hashed.decode()))
    )


def _rights(owner: Connection) -> Iterator[sql.Composed]:
    names = {
        "database": sql.Identifier(owner.info.dbname),
        "web": sql.Identifier(WEB),
        "projector": sql.Identifier(PROJECTOR),
    }
    for statement in (
        "REVOKE ALL ON DATABASE {database} FROM PUBLIC",
        "GRANT CONNECT ON DATABASE {database} TO {web}, {projector}",
        "REVOKE ALL ON SCHEMA public FROM PUBLIC, {web}, {projector}",
        "GRANT USAGE ON SCHEMA public TO {web}, {projector}",
        "GRANT CREATE ON SCHEMA public TO {projector}",
        # So that later migrations may change the read models' tables.
        "GRANT {projector} TO CURRENT_USER",
        "ALTER DEFAULT PRIVILEGES FOR ROLE {projector} GRANT SELECT ON TABLES TO {web}",
    ):
        yield sql.SQL(statement).format(**names)
    tables = owner.execute(
        "SELECT tablename, tableowner FROM pg_tables WHERE schemaname = 'public'"
    ).fetchall()
    for table, table_owner in tables:
        # Those of a rebuild come and go while this runs, and have the default rights.
        if table_owner != PROJECTOR:
            yield from (
                sql.SQL(statement).format(table=sql.Identifier("public", table), **names)
                for statement in _rights_on(table)
            )


def _rights_on(table: str) -> Iterator[str]:
    if table.startswith(READ_MODELS):
        yield "ALTER TABLE {table} OWNER TO {projector}"
        yield "REVOKE ALL ON {table} FROM PUBLIC, {web}"
        yield "GRANT SELECT ON {table} TO {web}"
        return
    yield "REVOKE ALL ON {table} FROM PUBLIC, {web}, {projector}"
    if table == _MIGRATIONS:
        yield "GRANT SELECT ON {table} TO {web}, {projector}"
    else:
        yield "GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {web}"
