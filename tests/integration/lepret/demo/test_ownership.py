"""Which databases a demo takes for its own, on SQLite and PostgreSQL."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.contrib.auth.hashers import make_password

from lepret.demo.ownership import MARK, DatabaseRefused, refuse_others_databases
from lepret.demo.passwords import DemoPasswordHasher

USERS = "CREATE TABLE auth_user (password varchar(128))"
MARKED = f"CREATE TABLE {MARK} (version integer)"


def added(password: str) -> str:
    return f"INSERT INTO auth_user VALUES ('{password}')"  # noqa: S608


def of_a_demo(password: str) -> str:
    return DemoPasswordHasher().encode(password, "salt", iterations=1)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/database.sqlite3"
    address: str = request.getfixturevalue("postgresql").new_database()
    return address


def execute(url: str, statements: Sequence[str]) -> None:
    connection: Any
    if url.startswith("sqlite"):
        connection = sqlite3.connect(url.removeprefix("sqlite:///"))
    else:
        connection = psycopg.connect(url)
    with closing(connection):
        for each in statements:
            connection.execute(each)
        connection.commit()


def look_into(url: str) -> None:
    refuse_others_databases({"DATABASE_URL": url})


@pytest.mark.parametrize(
    "statements",
    [
        [],
        [MARKED],
        [MARKED, "CREATE TABLE other (id integer)"],
        [MARKED, USERS, added(of_a_demo("admin")), added("!unusable")],
    ],
    ids=["empty", "marked only", "marked, with other tables", "marked, with its accounts"],
)
def test_an_empty_one_and_its_own_are_taken(url: str, statements: list[str]) -> None:
    execute(url, statements)
    look_into(url)


@pytest.mark.parametrize(
    ("statements", "reason"),
    [
        (["CREATE TABLE customers (id integer)"], "it has tables, customers for one"),
        ([USERS], "it has tables, auth_user for one"),
        ([USERS, added(of_a_demo("admin"))], "it has tables, auth_user for one"),
        ([MARKED, USERS, added(make_password("true"))], "others have accounts"),
    ],
    ids=["another's", "migrated only", "a demo's accounts only", "marked, and used in earnest"],
)
def test_anything_else_is_refused(url: str, statements: list[str], reason: str) -> None:
    execute(url, statements)
    with pytest.raises(DatabaseRefused) as refused:
        look_into(url)
    assert reason in str(refused.value)
    assert str(refused.value).startswith("DATABASE_URL names a database that is not a demo's")
    assert "\n" not in str(refused.value)


def test_it_is_only_looked_into(tmp_path: Path) -> None:
    file = tmp_path / "database.sqlite3"
    execute(f"sqlite:///{file}", ["CREATE TABLE customers (id integer)"])
    before = file.read_bytes()
    with pytest.raises(DatabaseRefused):
        look_into(f"sqlite:///{file}")
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    "url", ["postgresql://me:hidden@127.0.0.1:1/name", "nonsense://me:hidden@host", "sqlite:///{}"]
)
def test_one_that_cannot_be_looked_into_is_refused_without_its_password(
    url: str, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.sqlite3"
    broken.write_text("this is no database" * 100)
    with pytest.raises(DatabaseRefused, match=r"^DATABASE_URL: the database cannot be") as refused:
        look_into(url.format(broken))
    assert "hidden" not in str(refused.value)


def test_each_variable_is_looked_at(tmp_path: Path) -> None:
    execute(f"sqlite:///{tmp_path}/others.sqlite3", ["CREATE TABLE customers (id integer)"])
    urls = {
        "DATABASE_URL": f"sqlite:///{tmp_path}/new.sqlite3",
        "READMODELS_DATABASE_URL": f"sqlite:///{tmp_path}/others.sqlite3",
    }
    with pytest.raises(DatabaseRefused, match=r"^READMODELS_DATABASE_URL names"):
        refuse_others_databases(urls)
    assert not (tmp_path / "new.sqlite3").exists()
