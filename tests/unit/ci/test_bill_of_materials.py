"""Which licences may be used, and what the bill of materials says about gaps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import django
import pytest

from bill_of_materials import NotAllowed, bill_of_materials, check, is_allowed, licence_of

SITE_PACKAGES = Path(django.__file__).parents[1]


def component(name: str, *licences: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "version": "1.0", "licenses": list(licences)}


@pytest.mark.parametrize(
    ("licence", "allowed"),
    [
        ("MIT", True),
        ("MIT OR GPL-3.0-only", True),
        ("Apache-2.0 AND BSD-2-Clause", True),
        ("MIT AND (GPL-2.0-only OR ISC)", True),
        ("MIT AND GPL-3.0-only", False),
        ("GPL-3.0-or-later", False),
        ("AGPL-3.0-only", False),
        ("LGPL-3.0-only", False),
        ("SSPL-1.0", False),
        ("GPL-2.0-only WITH Classpath-exception-2.0", False),
        ("License :: Other/Proprietary License", False),
        ("LicenseRef-Proprietary", False),
        ("UNKNOWN", False),
        ("MIT AND", False),
        ("", False),
    ],
)
def test_a_licence_is_allowed_if_one_of_its_offers_is(licence: str, allowed: bool) -> None:
    assert is_allowed("anything", licence) == allowed


def test_the_lgpl_is_allowed_for_the_package_that_was_looked_at() -> None:
    assert is_allowed("psycopg", "LGPL-3.0-only")
    assert not is_allowed("psycopg", "GPL-3.0-only")
    assert not is_allowed("chardet", "LGPL-3.0-only")


def test_each_package_that_may_not_be_used_is_named() -> None:
    bom = {
        "components": [
            component("good", {"license": {"id": "MIT"}}),
            component("silent"),
            component("strict", {"license": {"id": "GPL-3.0-only"}}),
        ]
    }
    with pytest.raises(NotAllowed) as refusal:
        check(bom)
    assert str(refusal.value).splitlines() == [
        "silent 1.0: no licence is known",
        "strict 1.0: GPL-3.0-only",
    ]


def test_a_licence_is_read_in_each_way_that_packages_state_it() -> None:
    assert licence_of(component("a", {"expression": "MIT OR Apache-2.0"})) == "MIT OR Apache-2.0"
    classifier = "License :: OSI Approved :: BSD License"
    assert licence_of(component("a", {"license": {"name": classifier}})) == "BSD-3-Clause"
    two = component("a", {"license": {"id": "MIT"}}, {"license": {"id": "GPL-3.0-only"}})
    assert licence_of(two) == "MIT AND GPL-3.0-only"


def test_what_packages_hold_of_others_is_listed_with_its_version() -> None:
    bom = bill_of_materials(SITE_PACKAGES, {"components": [component("esdbclient")]})
    check(bom)
    versions = {each["name"]: each["version"] for each in bom["components"]}
    assert versions["@picocss/pico"] == "2.1.1"
    assert {"htmx.org", "jquery", "select2", "xregexp", "swagger-ui-dist", "redoc"} <= set(versions)


def test_what_is_vendored_no_longer_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(LookupError, match=r"^htmx\.org is no longer in "):
        bill_of_materials(tmp_path, {"components": []})
