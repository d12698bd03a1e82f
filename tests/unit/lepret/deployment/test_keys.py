"""The compose file's keys and passwords: made once, and given to those who need them."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest
from esdbclient.connection_spec import ConnectionSpec

from lepret.deployment.keys import (
    CERTIFICATES,
    LASTING,
    RENEWABLE,
    Directories,
    KeysRefused,
    make_keys,
)
from lepret.environment import database_settings

NOW: Final = datetime.now(UTC)
SERVERS: Final = {"authority.pem", "eventstore.pem", "postgres.pem", "valkey.pem"}


class Installation:
    """Directories as the compose file mounts them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.directories = Directories(path / "masters", path / "services", path / "given")
        for each in (path / "masters", path / "services", path / "given"):
            each.mkdir(parents=True, exist_ok=True)

    def start(
        self,
        *,
        renew: Collection[str] = (),
        still_in_env: Collection[str] = (),
        now: datetime = NOW,
    ) -> set[str]:
        return set(make_keys(self.directories, renew=renew, still_in_env=still_in_env, now=now))

    def give(self, name: str, text: str) -> None:
        (self.directories.given / name).write_text(text)

    def of(self, service: str) -> dict[str, str]:
        """What a service can read, by file name."""
        directory = self.directories.services / service
        files = [each for each in directory.rglob("*") if each.is_file()]
        return {str(each.relative_to(directory)): each.read_text() for each in files}

    def everything(self) -> dict[str, str]:
        return {
            str(each): each.read_text()
            for directory in (self.directories.masters, self.directories.services)
            for each in directory.rglob("*")
            if each.is_file()
        }


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    """Never started."""
    return Installation(tmp_path / "new")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """Started once for all tests: keys take a while."""
    installation = Installation(tmp_path_factory.mktemp("installation"))
    installation.start()
    return installation


@pytest.fixture
def started(template: Installation, tmp_path: Path) -> Installation:
    """Started before."""
    shutil.copytree(template.path, tmp_path / "started")
    return Installation(tmp_path / "started")


def test_the_first_start_makes_all_and_a_later_one_nothing(installation: Installation) -> None:
    assert installation.start() == {*LASTING, *RENEWABLE, *SERVERS}
    before = installation.everything()
    assert installation.start() == set()
    assert installation.everything() == before


def test_no_two_secrets_are_the_same(started: Installation) -> None:
    secrets = [(started.directories.masters / n).read_text() for n in (*LASTING, *RENEWABLE)]
    assert len(set(secrets)) == len(secrets)
    assert all(len(secret) == 64 for secret in secrets)


def test_a_service_knows_no_more_than_it_needs(started: Installation) -> None:
    masters = {
        name: (started.directories.masters / name).read_text() for name in LASTING + RENEWABLE
    }
    known = {
        service: {
            name
            for name, secret in masters.items()
            if any(secret in text for text in started.of(service).values())
        }
        for service in (each.name for each in started.directories.services.iterdir())
    }
    assert known == {
        "eventstore": {"EVENTSTORE_ADMIN_PASSWORD", "EVENTSTORE_OPS_PASSWORD"},
        "event-store-users": {name for name in masters if name.startswith("EVENTSTORE_")},
        "event-store-groups": {"EVENTSTORE_OPS_PASSWORD"},
        "postgres": {"POSTGRES_PASSWORD"},
        "migrate": {name for name in masters if name.startswith("POSTGRES_")},
        "valkey": set(),
        "web": {
            "DJANGO_SECRET_KEY",
            "LEPRET_HMAC_KEY",
            "POSTGRES_WEB_PASSWORD",
            "EVENTSTORE_WEB_PASSWORD",
            "VALKEY_PASSWORD",
        },
        "projector": {
            "POSTGRES_PROJECTOR_PASSWORD",
            "EVENTSTORE_PROJECTOR_PASSWORD",
            "VALKEY_PASSWORD",
        },
        "credit-checks": {"EVENTSTORE_WORKERS_PASSWORD"},
        "reservations": {"EVENTSTORE_WORKERS_PASSWORD", "LEPRET_HMAC_KEY"},
    }
    with_keys = {s for s in known if any("PRIVATE KEY" in t for t in started.of(s).values())}
    assert with_keys == {"eventstore", "postgres", "valkey"}
    authority = (started.directories.masters / "authority.pem").read_text()
    key = authority.partition("-----BEGIN CERTIFICATE-----")[0]
    assert not any(key in text for s in known for text in started.of(s).values())


def test_all_is_readable_for_one_user_only(started: Installation) -> None:
    for path in started.directories.services.rglob("*"):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o400), path
    for path in started.directories.masters.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o400, path


def test_the_addresses_ask_for_tls_and_a_certificate_that_fits(started: Installation) -> None:
    web = started.of("web")
    events = ConnectionSpec(web["EVENTSTORE_URI"])
    assert (events.username, list(events.targets)) == ("lepret-web", ["eventstore:2113"])
    assert (events.options.Tls, events.options.TlsVerifyCert) == (True, True)
    assert events.options.TlsCaFile == "/run/keys/ca.crt"
    database = database_settings(web["DATABASE_URL"])
    assert (database["USER"], database["HOST"]) == ("lepret_web", "postgres")
    assert database["OPTIONS"]["sslmode"] == "verify-full"
    assert database["OPTIONS"]["sslrootcert"] == "/run/keys/ca.crt"
    valkey = urlsplit(web["REDIS_URL"])
    assert (valkey.scheme, valkey.hostname) == ("rediss", "valkey")
    assert valkey.query == "ssl_ca_certs=/run/keys/ca.crt"


class TestGivenFiles:
    def test_go_before_made_ones(self, installation: Installation) -> None:
        installation.give("LEPRET_HMAC_KEY", "as it always was\n")
        installation.give("POSTGRES_PASSWORD", "as-it-was")
        installation.start()
        assert installation.of("web")["LEPRET_HMAC_KEY"] == "as it always was"
        assert ":as-it-was@" in installation.of("migrate")["DATABASE_URL"]

    def test_are_kept_when_they_are_gone(self, installation: Installation) -> None:
        installation.give("LEPRET_HMAC_KEY", "as it always was")
        installation.start()
        (installation.directories.given / "LEPRET_HMAC_KEY").unlink()
        installation.start()
        assert installation.of("web")["LEPRET_HMAC_KEY"] == "as it always was"

    @pytest.mark.parametrize("name", LASTING)
    def test_cannot_change_what_must_stay(self, started: Installation, name: str) -> None:
        before = started.everything()
        started.give(name, "another")
        with pytest.raises(KeysRefused, match=f"^.secrets/{name} differs .* must stay"):
            started.start()
        assert started.everything() == before

    def test_change_the_others(self, started: Installation) -> None:
        started.give("VALKEY_PASSWORD", "another")
        assert started.start() == {"VALKEY_PASSWORD"}
        assert ":another@" in started.of("web")["REDIS_URL"]

    def test_of_other_settings_go_to_those_who_read_them(self, started: Installation) -> None:
        started.give("CREDIT_BUREAU_URL", "https://user:secret@bureau.example")
        started.give("API_RATE", "1/s")
        started.start()
        assert "CREDIT_BUREAU_URL" in started.of("credit-checks")
        assert {"CREDIT_BUREAU_URL", "API_RATE"} <= started.of("web").keys()
        assert not {"CREDIT_BUREAU_URL", "API_RATE"} & started.of("projector").keys()
        (started.directories.given / "CREDIT_BUREAU_URL").unlink()
        started.start()
        assert "CREDIT_BUREAU_URL" not in started.of("web")

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("LEPRET_HMAC_KEYS", "a typing error in the name"),
            ("LEPRET_HMAC_KEY", ""),
            ("LEPRET_HMAC_KEY", " \n"),
            ("LEPRET_HMAC_KEY", "s3cret\nmore"),
            ("POSTGRES_PASSWORD", "s3cret@host"),
            ("EVENTSTORE_WEB_PASSWORD", "s3cret%40"),
        ],
    )
    def test_that_cannot_be_used_are_refused_by_name(
        self, installation: Installation, name: str, text: str
    ) -> None:
        installation.give(name, text)
        with pytest.raises(KeysRefused, match=f"^.secrets/{name} ") as refusal:
            installation.start()
        assert "s3cret" not in str(refusal.value)
        assert installation.everything() == {}


class TestSecretsThatAreStillInEnv:
    def test_must_move_first(self, installation: Installation) -> None:
        with pytest.raises(KeysRefused, match=r"^LEPRET_HMAC_KEY must move from \.env into"):
            installation.start(still_in_env=["LEPRET_HMAC_KEY"])
        assert installation.everything() == {}

    def test_do_no_harm_once_they_have_moved(self, installation: Installation) -> None:
        installation.give("LEPRET_HMAC_KEY", "as it always was")
        installation.start(still_in_env=["LEPRET_HMAC_KEY"])
        (installation.directories.given / "LEPRET_HMAC_KEY").unlink()
        assert installation.start(still_in_env=["LEPRET_HMAC_KEY"]) == set()


class TestRenewing:
    @pytest.mark.parametrize("name", RENEWABLE)
    def test_makes_one_anew(self, started: Installation, name: str) -> None:
        assert started.start(renew=[name]) == {name}

    def test_makes_all_certificates_anew(self, started: Installation) -> None:
        before = started.of("web")["ca.crt"]
        assert started.start(renew=[CERTIFICATES]) == SERVERS
        assert started.of("web")["ca.crt"] != before

    def test_happens_by_itself_to_an_old_certificate(self, started: Installation) -> None:
        assert started.start(now=NOW + timedelta(days=500)) == SERVERS - {"authority.pem"}


def test_what_a_crash_left_half_written_is_made_again(started: Installation) -> None:
    before = started.everything()
    (started.directories.masters / ".VALKEY_PASSWORD.new").write_text("hal")
    (started.directories.services / "web" / ".REDIS_URL.new").write_text("hal")
    (started.directories.services / "web" / "REDIS_URL").unlink()
    started.start()
    after = started.everything()
    after.pop(str(started.directories.masters / ".VALKEY_PASSWORD.new"), None)
    assert after == before
