"""Known vulnerabilities of the packages in the image, if the database of them can be reached.

    uv run --dev python .ci/vulnerabilities.py

Ends with status 1 if there are any, and with 0, saying so, if the database is out of reach. All
other troubles are failures.
"""

from __future__ import annotations

import argparse
import http.client
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import Final

DATABASE: Final = "https://api.osv.dev/v1/query"
# A version that has been known to be vulnerable for years: the database must know of it.
PROBE: Final = b'{"package": {"name": "django", "ecosystem": "PyPI"}, "version": "3.2.0"}'
_SECONDS: Final = 15
PROJECT: Final = Path(__file__).resolve().parents[1]


def can_be_reached(database: str) -> bool:
    """Whether the database answers, and knows of a vulnerability that is well known."""
    request = urllib.request.Request(  # noqa: S310 (the URL is this file's or a test's)
        database, PROBE, {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310
            return b'"vulns"' in answer.read()
    except (OSError, http.client.HTTPException):
        return False


def audit(database: str) -> int:
    """Ask the database about each package. Returns the status of `pip-audit`."""
    with tempfile.TemporaryDirectory() as directory:
        packages = Path(directory) / "packages.txt"
        export = ["uv", "export", "--quiet", "--no-default-groups", "--no-emit-project"]
        _run([*export, "--output-file", str(packages)], check=True)
        return _run(
            [
                *(sys.executable, "-m", "pip_audit", "--requirement", str(packages)),
                # With their hashes, all are named there: nothing is resolved, or downloaded.
                *("--require-hashes", "--disable-pip", "--progress-spinner", "off"),
                *("--vulnerability-service", "osv", "--osv-url", database),
            ]
        )


def _run(command: list[str], *, check: bool = False) -> int:
    return subprocess.run(command, cwd=PROJECT, check=check).returncode  # noqa: S603


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database", default=DATABASE, metavar="URL")
    database = parser.parse_args().database
    if not can_be_reached(database):
        sys.stdout.write(f"NOT CHECKED for vulnerabilities: {database} is out of reach from here\n")
        return
    sys.exit(audit(database))


if __name__ == "__main__":
    main()
