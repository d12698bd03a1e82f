"""Processes whose event store refuses them: they say so once, and go on once it does not."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from esdbclient import EventStoreDBClient, StreamState
from pytest_django import Settings
from redis import Redis

from lepret.common.event_store_client import close_event_store_client
from lepret.demo.event_store import EventStoreRefused, refuse_others_event_store
from lepret.deployment.certificates import certificate_for, new_authority
from loans.adapters import codec
from readmodels.projections import PROJECTIONS
from tests.support.event_store import RunningEventStore
from tests.support.fork_server import Forked, ForkServer
from tests.support.guarded_store import (
    OPS,
    GuardedStore,
    authority,
    certified,
    running_guarded_store,
)
from tests.support.management_commands import forks_for
from tests.support.postgresql import RunningPostgreSQL
from tests.support.processes import PATIENCE, wait_until
from tests.support.projectors import STATUS, are_caught_up, catch_up
from tests.support.read_models import ReadModelsDatabase
from tests.support.valkey import RunningValkey
from tests.support.web_servers import running_daphne
from tests.support.workers import append_deferred

MAY_NOT_READ_ALL: Final = "lepret may not read $all in EventStoreDB: see"
WRONG_PASSWORD: Final = "EventStoreDB refuses the password of lepret"
NO_GROUP: Final = "The event store has no group"

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.parametrize("read_models", ["sqlite"], indirect=True),
    pytest.mark.usefixtures("read_models"),
]


@pytest.fixture
def store(event_store: RunningEventStore, tmp_path: Path) -> Iterator[GuardedStore]:
    with running_guarded_store(event_store, tmp_path) as store:
        yield store


@pytest.fixture
def forks(
    event_store: RunningEventStore, read_models: ReadModelsDatabase, tmp_path: Path
) -> Iterator[ForkServer]:
    nobody = "redis://127.0.0.1:1/0"
    with forks_for(
        event_store, read_models, nobody, tmp_path, settings="tests.impatient_settings"
    ) as forks:
        yield forks


@pytest.fixture
def used(store: GuardedStore, settings: Settings) -> Iterator[GuardedStore]:
    """The application uses it, in this process, as `lepret`."""
    close_event_store_client()
    settings.EVENTSTORE_URI = store.uri()
    yield store
    close_event_store_client()


def let_read_all(store: GuardedStore) -> None:
    set_rights(store, "$all", {"$r": ["$admins", "lepret"]})


def set_rights(store: GuardedStore, stream: str, rights: dict[str, list[str]]) -> None:
    with closing(EventStoreDBClient(store.uri("admin"))) as admin:
        admin.set_stream_metadata(
            stream,
            metadata={"$acl": rights},
            current_version=StreamState.ANY,
            timeout=PATIENCE,
        )


def start(forks: ForkServer, command: str, uri: str) -> Forked:
    return forks.start(command, settings={"EVENTSTORE_URI": uri})


def wait_until_it_says(process: Forked, words: str, *, times: int = 1) -> None:
    def says() -> bool:
        assert process.status is None, process.output
        return process.output.count(words) >= times

    wait_until(says, what=f"it says {times} times: {words}")


def wait_for_attempts(store: GuardedStore, count: int) -> None:
    """Wait until so many more calls were denied."""
    enough = len(store.denied) + count
    wait_until(lambda: len(store.denied) >= enough, what="it tries again")


def assert_all_was_said_once(process: Forked, times: int, *words: str) -> None:
    """Each of its parts has said these words once; nothing else was said of the store."""
    assert [process.output.count(each) for each in words] == [times] * len(words)
    assert process.output.count("ost the event store") == times * len(words)
    assert process.output.count("egained the event store") == times
    for not_said in ("Traceback", "password@", "Handshake", "E0000"):
        assert not_said not in process.output


class TestAProjector:
    def test_says_which_right_it_lacks_and_whether_its_password_is_wrong(
        self, forks: ForkServer, store: GuardedStore
    ) -> None:
        projector = start(forks, "project", store.uri())
        each = len(PROJECTIONS)
        wait_until_it_says(projector, f"lost the event store: {MAY_NOT_READ_ALL}", times=each)
        wait_for_attempts(store, 3 * each)
        store.users["lepret"].password = "another"
        wait_until_it_says(projector, f"lost the event store: {WRONG_PASSWORD}", times=each)
        store.users["lepret"].password = "password"
        let_read_all(store)
        wait_until_it_says(projector, "regained the event store", times=each)
        wait_until(lambda: are_caught_up(projector.output))
        assert projector.stop() == 0
        assert_all_was_said_once(projector, each, MAY_NOT_READ_ALL, WRONG_PASSWORD)

    def test_says_that_a_certificate_has_expired(
        self, forks: ForkServer, store: GuardedStore
    ) -> None:
        let_read_all(store)
        long_ago = datetime.now(UTC) - timedelta(days=900)
        store.show(certificate_for("localhost", authority(), long_ago))
        projector = start(forks, "project", store.uri())
        each = len(PROJECTIONS)
        words = f"the certificate of 127.0.0.1:{store.port} has expired"
        wait_until_it_says(projector, words, times=each)
        store.show(certified())
        wait_until_it_says(projector, "regained the event store", times=each)
        assert projector.stop() == 0
        assert_all_was_said_once(projector, each, words)


class TestAWorker:
    GROUPS: Final = 2

    def test_says_which_right_it_lacks(self, forks: ForkServer, store: GuardedStore) -> None:
        worker = start(forks, "check_credit", store.uri())
        wait_until_it_says(worker, NO_GROUP, times=self.GROUPS)
        wait_for_attempts(store, 3 * self.GROUPS)
        store.users["lepret"].groups = [OPS]
        wait_until_it_says(worker, f"Lost the event store: {MAY_NOT_READ_ALL}", times=self.GROUPS)
        let_read_all(store)
        wait_until_it_says(worker, "is ready")
        assert worker.stop() == 0
        assert worker.output.count(NO_GROUP) == self.GROUPS
        assert_all_was_said_once(worker, self.GROUPS, MAY_NOT_READ_ALL)

    def test_says_that_it_may_not_append_what_it_has_found_out(
        self, forks: ForkServer, store: GuardedStore
    ) -> None:
        store.users["lepret"].groups = [OPS]
        let_read_all(store)
        (loan,) = append_deferred(1)
        set_rights(store, codec.stream_name(loan), {"$w": ["$admins"]})
        worker = start(forks, "check_credit", store.uri())
        words = "credit-checks lost the event store: lepret may not append events"
        wait_until_it_says(worker, words)
        wait_for_attempts(store, 3)
        set_rights(store, codec.stream_name(loan), {})
        wait_until_it_says(worker, "credit-checks regained the event store")
        assert worker.stop() == 0
        assert worker.output.count(words) == 1
        assert "Traceback" not in worker.output

    def test_says_what_is_wrong_with_the_file_of_authorities(
        self, forks: ForkServer, store: GuardedStore, tmp_path: Path
    ) -> None:
        store.users["lepret"].groups = [OPS]
        let_read_all(store)
        file = tmp_path / "authorities.crt"
        worker = start(forks, "check_credit", store.uri(ca_file=file))
        unreadable = f"tlsCaFile={file} in EVENTSTORE_URI cannot be read"
        wait_until_it_says(worker, unreadable, times=self.GROUPS)
        file.write_text(new_authority(datetime.now(UTC)).certificate)
        of_another = f"is signed by none that tlsCaFile={file} names"
        wait_until_it_says(worker, of_another, times=self.GROUPS)
        file.write_text(authority().certificate)
        wait_until_it_says(worker, "is ready")
        assert worker.stop() == 0
        assert_all_was_said_once(worker, self.GROUPS, unreadable, of_another)


class TestReadyz:
    def test_tells_insiders_why_and_the_log_once(
        self, used: GuardedStore, client: Client, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO, "lepret.common.health")

        def reason() -> str:
            answer = client.get("/readyz")
            assert (answer.status_code == 503) is (answer.json()["status"] == "unavailable")
            return str(answer.json()["reasons"].get("event_store", ""))

        wait_until(lambda: reason().startswith(MAY_NOT_READ_ALL))
        assert client.get("/readyz").json()["checks"]["event_store"] == "unavailable"
        used.users["lepret"].password = "another"
        wait_until(lambda: reason().startswith(WRONG_PASSWORD))
        stranger = Client(REMOTE_ADDR="203.0.113.1").get("/readyz")
        assert stranger.json() == {"status": "unavailable"}

        used.users["lepret"].password = "password"
        let_read_all(used)
        wait_until(lambda: not reason())
        said = [each.getMessage() for each in caplog.records]
        said = [each for each in said if "the event store" in each]
        assert [each.partition(": ")[2].partition(":")[0] for each in said[:2]] == [
            MAY_NOT_READ_ALL.partition(":")[0],
            f"{WRONG_PASSWORD}, or has no such user",
        ]
        assert said[2:] == ["/readyz regained the event store"]

    def test_names_what_each_service_refuses(
        self,
        store: GuardedStore,
        postgresql: RunningPostgreSQL,
        valkey: RunningValkey,
        tmp_path: Path,
    ) -> None:
        with Redis.from_url(valkey.url) as redis:
            redis.config_set("requirepass", "another")
        database = urlsplit(postgresql.new_database())
        environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "lepret.settings",
            "DJANGO_SECRET_KEY": "only-for-tests-" + "x" * 50,
            "LEPRET_DATA_DIR": str(tmp_path),
            "EVENTSTORE_URI": store.uri(),
            "DATABASE_URL": database._replace(netloc="somebody:secret@").geturl(),
            "REDIS_URL": valkey.url.replace("//", "//:secret@"),
        }
        with running_daphne(environment) as web:
            wait_until(web.is_alive)
            document = web.get("/readyz").json()
        assert document["checks"] == dict.fromkeys(document["reasons"], "unavailable")
        reasons = document["reasons"]
        assert reasons["event_store"].startswith(MAY_NOT_READ_ALL)
        assert reasons["database"].endswith('FATAL: role "somebody" does not exist')
        assert reasons["channel_layer"] == "invalid username-password pair or user is disabled."
        assert "secret" not in str(document)


@pytest.mark.usefixtures("used")
class TestACommand:
    @pytest.mark.parametrize(
        "arguments",
        [
            ("project", "--once"),
            ("rebuild", "loan_status"),
            ("check_credit", "--replay-parked"),
            ("prepare_event_store", "--delete-old-groups"),
        ],
        ids=" ".join,
    )
    def test_ends_with_what_was_refused(
        self, store: GuardedStore, arguments: tuple[str, ...]
    ) -> None:
        store.users["lepret"].password = "another"
        with pytest.raises(CommandError, match=WRONG_PASSWORD):
            call_command(*arguments)

    def test_about_the_status_of_projections_says_why_it_is_unknown(
        self, store: GuardedStore
    ) -> None:
        let_read_all(store)
        catch_up(STATUS)
        store.users["lepret"].password = "another"
        with pytest.raises(CommandError, match=f"loan_status: unknown, since {WRONG_PASSWORD}"):
            call_command("projections", STATUS.name)


def test_a_demo_says_what_its_event_store_refuses(store: GuardedStore) -> None:
    with pytest.raises(EventStoreRefused) as refused:
        refuse_others_event_store("EVENTSTORE_URI", store.uri())
    assert str(refused.value).startswith(f"EVENTSTORE_URI: {MAY_NOT_READ_ALL}")
