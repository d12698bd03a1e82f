"""schemathesis checks that the API of a whole system answers as its OpenAPI document says.

It sends the document's examples, values at and beyond their limits, random values, and sequences of
calls that use the answer of the call before.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.support.api import EVERYTHING
from tests.support.event_store import RunningEventStore
from tests.support.fork_server import fork_server
from tests.support.nodes import UNDERWRITER, USERNAME, Node, node
from tests.support.processes import PROJECT
from tests.support.projectors import environment
from tests.support.read_models import ReadModelsDatabase
from tests.support.valkey import RunningValkey

SECONDS: Final = 200
DOCUMENT: Final = PROJECT / "docs" / "openapi.json"
CONFIG: Final = PROJECT / "tests" / "support" / "schemathesis.toml"


@pytest.fixture
def web(
    event_store: RunningEventStore, shared_valkey: RunningValkey, tmp_path: Path
) -> Iterator[Node]:
    """A projector, and a web server without throttling that waits only briefly for read models.

    With an event store of its own: in the shared one are events at which a projection stops.
    """
    database = f"sqlite:///{tmp_path}/everything.sqlite3"
    variables = environment(event_store, ReadModelsDatabase("default", "")) | {
        "DJANGO_SETTINGS_MODULE": "tests.impatient_settings",
        "DATABASE_URL": database,
        "REDIS_URL": shared_valkey.url,
        "LEPRET_DATA_DIR": str(tmp_path),
        "API_RATE": "none",
        "CREDIT_BUREAU_LATENCY_SECONDS": "0",
    }
    with fork_server(variables, tmp_path) as forks:
        for arguments in (["migrate", "-v0"], ["shell", "-v0", "-c", UNDERWRITER]):
            assert forks.run(*arguments).status == 0
        with node("fuzzed", variables, forks) as web:
            web.start_projector()
            web.wait_until_level()
            yield web


def new_token(web: Node) -> str:
    """An underwriter's token with all scopes."""
    scopes = [f"--scope={each.value}" for each in EVERYTHING]
    command = web.forks.run("api_token", "create", USERNAME, "--name=schemathesis", *scopes)
    match = re.search("^lepret_.*$", command.output, re.MULTILINE)
    assert match is not None, command.output
    return match[0]


def test_whatever_is_sent_is_answered_as_the_document_says(web: Node, tmp_path: Path) -> None:
    schemathesis = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG)),
            *("run", str(DOCUMENT), "--url", web.base_url, "--no-color"),
            *("--header", f"Authorization: Bearer {new_token(web)}"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert schemathesis.returncode == 0, schemathesis.stdout + schemathesis.stderr
    # It has tested all twelve operations.
    assert "Tested: 12" in schemathesis.stdout
