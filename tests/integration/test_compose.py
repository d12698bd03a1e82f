"""What `docker-compose.yml` promises: each service confined, and no secret where others look."""

from __future__ import annotations

import re
import tomllib
from datetime import UTC, datetime
from typing import Any, Final

import pytest
import yaml

from lepret.deployment.keys import Directories, make_keys
from lepret.environment import Environment
from tests.support.processes import PROJECT

COMPOSE: Final[dict[str, Any]] = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())
SERVICES: Final[dict[str, dict[str, Any]]] = COMPOSE["services"]
OURS: Final = sorted(name for name, each in SERVICES.items() if "build" in each)

every_service = pytest.mark.parametrize("name", SERVICES)

# Who reaches whom by which network: see the table in docs/operations.md.
NETWORKS: Final = {
    "keys": set(),
    "eventstore": {"events"},
    "event-store-users": {"events"},
    "event-store-groups": {"events"},
    "postgres": {"database"},
    "valkey": {"messages"},
    "migrate": {"database"},
    "web": {"front", "events", "database", "messages"},
    "projector": {"events", "database", "messages"},
    "credit-checks": {"bureau", "events"},
    "reservations": {"events"},
}


@pytest.fixture(scope="module")
def shares(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """The files of each service's directory of keys, by service."""
    path = tmp_path_factory.mktemp("keys")
    for each in ("masters", "services", "given"):
        (path / each).mkdir()
    directories = Directories(path / "masters", path / "services", path / "given")
    make_keys(directories, now=datetime.now(UTC))
    return {
        service.name: {
            str(file.relative_to(service)) for file in service.rglob("*") if file.is_file()
        }
        for service in directories.services.iterdir()
    }


@every_service
def test_a_service_has_no_more_power_than_it_needs(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is (name != "eventstore")
    assert not service.get("privileged")
    added = set(service.get("cap_add", []))
    assert added == ({"CHOWN", "DAC_OVERRIDE", "FOWNER"} if name == "keys" else set())


@every_service
def test_only_the_service_that_gives_files_to_users_runs_as_root(name: str) -> None:
    dockerfile = (PROJECT / "Dockerfile").read_text()
    of_our_image = re.findall(r"^USER (\S+)$", dockerfile, re.MULTILINE)[-1]
    user = SERVICES[name].get("user") or (of_our_image if name in OURS else "")
    assert re.fullmatch(r"\d+:\d+", user)
    assert user.startswith("0:") == (name == "keys")


@every_service
def test_a_service_cannot_use_up_the_machine(name: str) -> None:
    service = SERVICES[name]
    assert re.fullmatch(r"\d+[mg]", service["mem_limit"])
    assert 0 < service["pids_limit"] <= 512
    assert service["logging"]["options"] == {"max-size": "10m", "max-file": "5"}
    assert any(each.startswith("/tmp:") for each in service["tmpfs"])  # noqa: S108
    for each in service["tmpfs"]:
        assert re.fullmatch(r"/[a-z/]+:size=\d+m,mode=[13]777", each)


def test_each_service_is_in_the_networks_that_it_needs() -> None:
    assert {name: set(each.get("networks", [])) for name, each in SERVICES.items()} == NETWORKS
    assert SERVICES["keys"]["network_mode"] == "none"


def test_only_what_talks_to_the_outside_is_in_a_network_with_a_way_there() -> None:
    outward = {
        name for name, each in COMPOSE["networks"].items() if not (each or {}).get("internal")
    }
    assert outward == {"front", "bureau"}
    assert {name for name, used in NETWORKS.items() if used & outward} == {"web", "credit-checks"}
    published = {name: each["ports"] for name, each in SERVICES.items() if "ports" in each}
    assert published == {"web": ["127.0.0.1:${WEB_PORT:-8000}:8000"]}


@every_service
def test_a_service_s_environment_holds_no_secret(name: str) -> None:
    for variable, value in SERVICES[name].get("environment", {}).items():
        if re.search("KEY|PASSWORD|SECRET|TOKEN|DATABASE_URL|REDIS_URL|EVENTSTORE_URI", variable):
            assert (
                variable.endswith(("_FILE", "_IS_IN_ENV"))
                # No server, so no password.
                or (variable, value) == ("DATABASE_URL", "sqlite:///")
                # Whether passwords are taken.
                or variable == "PASSWORD_LOGIN"
            ), variable
        assert "://" not in value or value == "sqlite:///"


@pytest.mark.parametrize("name", [each for each in OURS if each != "keys"])
def test_our_services_get_variables_that_exist(name: str) -> None:
    known = set(Environment.variables())
    for variable in SERVICES[name].get("environment", {}):
        assert variable.removesuffix("_FILE") in known


@every_service
def test_every_file_that_is_named_is_in_the_service_s_keys(
    name: str, shares: dict[str, set[str]]
) -> None:
    service = {**SERVICES[name], "volumes": []}
    named = set(re.findall(r"/run/keys/([\w./-]+)", repr(service)))
    if named:
        mounted = [each for each in SERVICES[name]["volumes"] if each.endswith(":/run/keys:ro")]
        assert mounted == [f"keys-{name}:/run/keys:ro"]
    assert named - {"trusted"} <= shares.get(name, set())


def test_each_service_s_keys_are_mounted_in_it_alone_and_read_only(
    shares: dict[str, set[str]],
) -> None:
    given_out = {f"keys-{name}:/keys/services/{name}" for name in shares}
    assert set(SERVICES["keys"]["volumes"]) == {
        "./.secrets:/keys/given:ro,z",
        "keys:/keys/masters",
        *given_out,
    }
    for name, service in SERVICES.items():
        if name != "keys":
            used = [each for each in service["volumes"] if each.startswith("keys")]
            assert used == [f"keys-{name}:/run/keys:ro"]
    assert {name for name in COMPOSE["volumes"] if name.startswith("keys-")} == {
        f"keys-{name}" for name in shares
    }


@every_service
def test_an_image_of_others_is_pinned(name: str) -> None:
    image = SERVICES[name]["image"]
    if name in OURS:
        assert image == "lepret:local"
    else:
        assert re.fullmatch(r"[\w./-]+:\d+\.\d+(\.\d+)?(-\w+)?(@sha256:[0-9a-f]{64})?", image)


def test_the_image_is_built_on_a_digest() -> None:
    bases = re.findall(r"^FROM (\S+)", (PROJECT / "Dockerfile").read_text(), re.MULTILINE)
    assert bases
    assert all(re.fullmatch(r"python:[\w.-]+@sha256:[0-9a-f]{64}", base) for base in bases)


def test_what_runs_once_is_waited_for() -> None:
    """Otherwise `docker compose up --wait` takes its end for a failure."""
    waited_for = {
        dependency
        for each in SERVICES.values()
        for dependency, condition in each.get("depends_on", {}).items()
        if condition["condition"] == "service_completed_successfully"
    }
    assert waited_for == {name for name, each in SERVICES.items() if each["restart"] == "no"}


@every_service
def test_what_keeps_running_has_a_health_check(name: str) -> None:
    assert ("healthcheck" in SERVICES[name]) is (SERVICES[name]["restart"] != "no")


def test_the_image_has_what_makes_the_keys() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    assert any(each.startswith("cryptography==") for each in project["dependencies"])


def test_no_secret_can_be_committed_or_built_in() -> None:
    assert (PROJECT / ".secrets" / ".gitignore").read_text().splitlines()[-2:] == [
        "*",
        "!.gitignore",
    ]
    let_in = (PROJECT / ".dockerignore").read_text().splitlines()
    assert "*" in let_in
    assert not any(line.startswith("!.secrets") for line in let_in)
