"""Vulnerable packages are a failure; a database that is out of reach is not, but is said."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from tests.support.processes import PATIENCE, PROJECT, free_port


@contextmanager
def running_database(vulnerable: str, status: int = 200) -> Iterator[str]:
    """OSV's API, which knows of a vulnerability of one package, and of the one that is probed."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            is_probe = asked["version"] == "3.2.0"
            known = is_probe or asked["package"]["name"] == vulnerable
            body = json.dumps({"vulns": [_vulnerability(asked)]} if known else {}).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1/query"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(PATIENCE)


def _vulnerability(asked: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": "PYSEC-2026-1",
        "summary": "made up",
        "modified": "2026-01-01T00:00:00Z",
        "published": "2026-01-01T00:00:00Z",
        "affected": [
            {
                "package": {**asked["package"], "purl": "pkg:pypi/made-up"},
                "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}]}],
                "versions": [asked["version"]],
            }
        ],
    }


def audit(database: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ".ci/vulnerabilities.py", "--database", database],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def test_a_vulnerable_package_is_a_failure() -> None:
    with running_database("twisted") as database:
        result = audit(database)
    assert result.returncode == 1, result.stderr
    assert "PYSEC-2026-1" in result.stdout


def test_without_any_all_is_well() -> None:
    with running_database("none") as database:
        result = audit(database)
    assert result.returncode == 0, result.stderr
    assert "No known vulnerabilities found" in result.stderr


def test_a_database_out_of_reach_is_said() -> None:
    result = audit(f"http://127.0.0.1:{free_port()}/v1/query")
    assert result.returncode == 0
    assert result.stdout.startswith("NOT CHECKED for vulnerabilities: http://127.0.0.1:")


def test_an_answer_that_is_not_the_database_s_counts_as_out_of_reach() -> None:
    with running_database("none", status=404) as database:
        result = audit(database)
    assert result.stdout.startswith("NOT CHECKED")
