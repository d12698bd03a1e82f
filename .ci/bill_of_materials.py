"""Every dependency's licence, and a CycloneDX bill of materials of what the image holds.

    uv run --dev python .ci/bill_of_materials.py --output bom.json

Installs the image's packages into an environment of its own, without the demo's and the developers'
tools, lists them and what others have put into them, prints each one's licence, and ends with
status 1 if one may not be used. The file is validated against CycloneDX's schema.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from license_expression import ExpressionError, get_spdx_licensing
from packaging.utils import canonicalize_name

PROJECT: Final = Path(__file__).resolve().parents[1]
_SPDX: Final = get_spdx_licensing()

# Whatever else a package asks for is looked at before it is added here.
ALLOWED: Final = frozenset(
    {
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "0BSD",
        "ISC",
        "MIT",
        "MIT-0",
        "PSF-2.0",
        "TCL",
        "Unlicense",
        "ZPL-2.1",
    }
)
# The LGPL asks that users can replace the library by one that they have changed. These are Python
# packages, installed as they were published, in files of their own. The MPL asks for the source of
# its own files: that is what is installed.
ALLOWED_FOR: Final = {
    "certifi": "MPL-2.0",
    "mozilla-django-oidc": "MPL-2.0",
    "psycopg": "LGPL-3.0-only",
    "psycopg-binary": "LGPL-3.0-only",
    "psycopg-pool": "LGPL-3.0-only",
}
# What packages say in the older way, which does not tell the kinds of BSD licence apart.
_CLASSIFIERS: Final = {
    "License :: OSI Approved :: Apache Software License": "Apache-2.0",
    "License :: OSI Approved :: BSD License": "BSD-3-Clause",
    "License :: OSI Approved :: MIT License": "MIT",
    "License :: OSI Approved :: Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}
# Read in the packages' licence files: what they declare is missing, or contradicts itself.
CONCLUDED: Final = {
    "channels-redis": "BSD-3-Clause",
    "esdbclient": "BSD-3-Clause",
    "protobuf": "BSD-3-Clause",
}


@dataclass(frozen=True)
class Vendored:
    """What a package, or this project, holds of another's work. Its version is read there."""

    name: str
    licence: str
    file: str
    version: str


_SITE: Final = "site-packages"
_ADMIN: Final = f"{_SITE}/django/contrib/admin/static/admin/js/vendor"
_HTMX: Final = f"{_SITE}/django_htmx/static/django_htmx/htmx-2.js"
_PICO: Final = "lepret/static/lepret/vendor/pico-*.min.css"
VENDORED: Final = (
    Vendored("@picocss/pico", "MIT", _PICO, r"Pico CSS .*?v([\d.]+)"),
    Vendored("htmx.org", "0BSD", _HTMX, r"version: '([\d.]+)'"),
    Vendored("jquery", "MIT", f"{_ADMIN}/jquery/jquery.min.js", r"jQuery v([\d.]+)"),
    Vendored("select2", "MIT", f"{_ADMIN}/select2/select2.full.js", r"Select2 ([\d.]+)"),
    Vendored("xregexp", "MIT", f"{_ADMIN}/xregexp/xregexp.js", r"XRegExp ([\d.]+)"),
    Vendored(
        "swagger-ui-dist",
        "Apache-2.0",
        f"{_SITE}/ninja/static/ninja/swagger-ui-bundle.js",
        r'PACKAGE_VERSION:"([\d.]+)"',
    ),
    Vendored(
        "redoc",
        "MIT",
        f"{_SITE}/ninja/static/ninja/redoc.standalone.js",
        r'ReDoc Version: ","([\d.]+)"',
    ),
)


class NotAllowed(Exception):
    """Licences that may not be used; the message has a line for each."""


def bill_of_materials(site_packages: Path, listed: Mapping[str, Any]) -> dict[str, Any]:
    """What `cyclonedx-py` has listed, with its gaps filled, and with what packages hold of others.

    Raises:
        LookupError: something that is known to be vendored is not where it was.
    """
    bom = json.loads(json.dumps(listed))
    for component in bom["components"]:
        concluded = CONCLUDED.get(canonicalize_name(component["name"]))
        if concluded:
            component["licenses"] = [{"license": {"id": concluded, "acknowledgement": "concluded"}}]
    bom["components"] += [_component(each, site_packages) for each in VENDORED]
    return dict(bom)


def _component(vendored: Vendored, site_packages: Path) -> dict[str, Any]:
    place, _, inside = vendored.file.partition("/")
    directory, pattern = (site_packages, inside) if place == _SITE else (PROJECT, vendored.file)
    version = next(_versions(sorted(directory.glob(pattern)), vendored.version), None)
    if version is None:
        raise LookupError(f"{vendored.name} is no longer in {vendored.file}: look where it went")
    purl = f"pkg:npm/{vendored.name.replace('@', '%40')}@{version}"
    return {
        "type": "library",
        "bom-ref": purl,
        "name": vendored.name,
        "version": version,
        "purl": purl,
        "licenses": [{"license": {"id": vendored.licence, "acknowledgement": "concluded"}}],
        "description": f"vendored: {vendored.file}",
    }


def _versions(files: Sequence[Path], pattern: str) -> Iterator[str]:
    for file in files:
        if match := re.search(pattern, file.read_text(encoding="utf-8")):
            yield match[1]


def licence_of(component: Mapping[str, Any]) -> str:
    """A component's licence as an SPDX expression; empty if it is not known."""
    parts = []
    for each in component.get("licenses", ()):
        declared = each.get("expression") or each["license"].get("id") or each["license"]["name"]
        parts.append(_CLASSIFIERS.get(declared, declared))
    return " AND ".join(parts)


def check(bom: Mapping[str, Any]) -> None:
    """Check all licences.

    Raises:
        NotAllowed: some may not be used.
    """
    refused = [
        f"{each['name']} {each['version']}: {licence_of(each) or 'no licence is known'}"
        for each in bom["components"]
        if not is_allowed(canonicalize_name(each["name"]), licence_of(each))
    ]
    if refused:
        raise NotAllowed("\n".join(refused))


def is_allowed(name: str, licence: str) -> bool:
    """Whether a package may be used under this licence, an SPDX expression."""
    try:
        expression = _SPDX.parse(licence, validate=True)
    except ExpressionError:
        return False
    if expression is None:
        return False
    allowed = ALLOWED | {ALLOWED_FOR.get(name, "")}
    return _holds(expression, allowed)


def _holds(expression: Any, allowed: frozenset[str]) -> bool:
    """Whether one of the offers (OR) consists (AND) of allowed licences only."""
    if expression.isliteral:
        return str(expression) in allowed
    holds = [_holds(each, allowed) for each in expression.args]
    return any(holds) if isinstance(expression, _SPDX.OR) else all(holds)


def _listed(directory: Path) -> tuple[Path, dict[str, Any]]:
    environment = directory / "environment"
    _run(
        ["uv", "sync", "--quiet", "--no-default-groups"],
        # Ours is `uv run`'s, with the developers' tools.
        {**os.environ, "UV_PROJECT_ENVIRONMENT": str(environment)},
    )
    output = directory / "listed.json"
    _run(
        [
            *(sys.executable, "-m", "cyclonedx_py", "environment"),
            *("--pyproject", "pyproject.toml", "--mc-type", "application"),
            *("--spec-version", "1.6", "--output-format", "JSON", "--output-file", str(output)),
            str(environment / "bin" / "python"),
        ],
        dict(os.environ),
    )
    site_packages = next((environment / "lib").glob(f"python*/{_SITE}"))
    return site_packages, json.loads(output.read_text())


def _run(command: Sequence[str], environment: Mapping[str, str]) -> None:
    subprocess.run(command, cwd=PROJECT, env=environment, check=True)  # noqa: S603


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="where to put the CycloneDX file"
    )
    output: Path | None = parser.parse_args().output
    with tempfile.TemporaryDirectory() as directory:
        bom = bill_of_materials(*_listed(Path(directory)))
    text = json.dumps(bom, indent=2, sort_keys=True) + "\n"
    if error := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
        sys.exit(f"The bill of materials is not valid CycloneDX: {error}")
    for each in sorted(bom["components"], key=lambda each: str(each["name"]).lower()):
        sys.stdout.write(f"{each['name']} {each['version']}: {licence_of(each) or '?'}\n")
    if output is not None:
        output.write_text(text)
    try:
        check(bom)
    except NotAllowed as refusal:
        sys.exit(f"These licences may not be used:\n{refusal}")


if __name__ == "__main__":
    main()
