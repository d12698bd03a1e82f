"""Workers, and who prepares the event store for them, with as few rights as they can do with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from esdbclient import EventStoreDBClient
from esdbclient.exceptions import GrpcError
from pytest_django import Settings

from lepret.common.event_store_client import event_store_client
from lepret.deployment.event_store_users import let_read_all
from loans.management.commands.prepare_event_store import GROUPS
from loans.workers.credit_checks import CREDIT_CHECKS
from loans.workers.groups import SETTINGS
from loans.workers.losses import LOSSES
from tests.support.event_store import RunningEventStore
from tests.support.fork_server import ForkServer
from tests.support.guarded_store import OPS, GuardedStore, User, running_guarded_store
from tests.support.processes import PATIENCE, free_port, wait_until
from tests.support.workers import (
    Ports,
    Workers,
    append_deferred,
    forks_for_workers,
    wait_until_checked,
    wait_until_ready,
)


@pytest.fixture(scope="module")
def guarded_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def ca_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ca")


@pytest.fixture
def guarded(
    event_store: RunningEventStore, ca_folder: Path, guarded_port: int
) -> Iterator[GuardedStore]:
    """An event store that wants TLS, a password and rights. `lepret` may read it."""
    with running_guarded_store(event_store, ca_folder, port=guarded_port) as store:
        store.users["ops"] = User("ops-password", [OPS])
        let_read_all(event_store_client(), ["lepret"])
        yield store


@pytest.fixture(scope="module")
def forks(
    ports: Ports, ca_folder: Path, guarded_port: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ForkServer]:
    """Workers whose user is `lepret`."""
    uri = f"esdb://lepret:password@127.0.0.1:{guarded_port}?tls=true&tlsCaFile={ca_folder}/ca.crt"
    folder = tmp_path_factory.mktemp("workers")
    with forks_for_workers(ports, folder, event_store_uri=uri) as forks:
        yield forks


@pytest.fixture
def workers(forks: ForkServer, ports: Ports, guarded: GuardedStore) -> Iterator[Workers]:
    workers = Workers(forks, ports)
    yield workers
    workers.close()


def prepare(store: GuardedStore, *options: str, user: str = "ops") -> None:
    """Run the command as this user."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("django.conf.settings.EVENTSTORE_URI", store.uri(user))
        call_command("prepare_event_store", *options)


class TestAWorkerWithNoMoreRightsThanToRead:
    def test_takes_groups_that_are_there_without_trying_to_make_them(
        self, workers: Workers, guarded: GuardedStore
    ) -> None:
        prepare(guarded)
        ids = append_deferred(2)
        with workers.credit_bureau():
            running = [workers.check_credit(), workers.release_reservations()]
            wait_until_ready(*running)
            wait_until_checked(ids)
            assert [each.stop() for each in running] == [0, 0]

        assert guarded.denied == []
        assert [each.output for each in running] == [
            "check_credit is ready\n",
            "release_reservations is ready\n",
        ]

    def test_says_once_that_they_are_missing_and_takes_them_when_they_are_made(
        self, workers: Workers, guarded: GuardedStore
    ) -> None:
        ids = append_deferred(2)
        with workers.credit_bureau():
            worker, other = workers.check_credit(), workers.check_credit()
            wait_until(lambda: guarded.denied.count(("lepret", "Create")) > 8)
            assert other.stop() == 0
            prepare(guarded)
            wait_until_ready(worker)
            wait_until_checked(ids)
            assert worker.stop() == 0

        for group in (CREDIT_CHECKS, LOSSES):
            line = f"The event store has no group {group.name}. A user in $ops makes it: "
            assert worker.output.count(line + "manage.py prepare_event_store") == 1
            assert worker.output.count(f"The group {group.name} is there now") == 1
        assert "ost the event store" not in worker.output

    def test_makes_them_once_it_may(self, workers: Workers, guarded: GuardedStore) -> None:
        worker = workers.check_credit()
        wait_until(lambda: "has no group" in worker.output)
        guarded.users["lepret"] = User("password", [OPS])
        wait_until_ready(worker)
        assert worker.stop() == 0

    def test_says_what_settings_it_may_not_change_and_goes_on(
        self, workers: Workers, guarded: GuardedStore
    ) -> None:
        others = {**SETTINGS, "max_retry_count": 7}
        event_store_client().create_subscription_to_all(
            CREDIT_CHECKS.name, filter_include=["(LoanRequested)"], **others
        )
        LOSSES.prepare(event_store_client())
        with workers.credit_bureau():
            worker = workers.check_credit()
            wait_until_checked(append_deferred(2))
            assert worker.stop() == 0

        warning, ready = worker.output.splitlines()
        assert "other settings: max_retry_count 7. A user in $ops brings it to ours" in warning
        assert ready == "check_credit is ready"
        assert guarded.denied == []

    def test_cannot_replay_parked_events(self, guarded: GuardedStore, settings: Settings) -> None:
        prepare(guarded)
        settings.EVENTSTORE_URI = guarded.uri()
        with pytest.raises(CommandError, match="lepret may not make, change or delete"):
            call_command("check_credit", "--replay-parked")
        settings.EVENTSTORE_URI = guarded.uri("ops")
        call_command("check_credit", "--replay-parked")


class TestPreparing:
    def test_makes_all_groups_once(
        self, guarded: GuardedStore, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for done in ("made", "there already"):
            prepare(guarded, "--groups-only")
            assert lines(capsys) == [f"{group.name}: {done}" for group in GROUPS]

    def test_again_disconnects_no_worker(self, workers: Workers, guarded: GuardedStore) -> None:
        prepare(guarded)
        with workers.credit_bureau():
            worker = workers.check_credit()
            wait_until_ready(worker)
            prepare(guarded)
            wait_until_checked(append_deferred(2))
            assert worker.stop() == 0
        assert worker.output == "check_credit is ready\n", "it has lost nothing"

    def test_leaves_old_groups_until_it_is_told(
        self, guarded: GuardedStore, capsys: pytest.CaptureFixture[str]
    ) -> None:
        others = ["reservation-lapses-of-the-shop", "shop-losses", "shop-losses-0123abcd"]
        old = ["reservation-lapses-0123abcd", "credit-checks"]
        for name in (*others, *old):
            event_store_client().create_subscription_to_all(name)

        prepare(guarded, "--groups-only")
        printed = lines(capsys)
        for name in old:
            left = f"{name} (another version's, with 0 parked): left: see --delete-old-groups"
            assert left in printed

        prepare(guarded, "--groups-only", "--delete-old-groups")
        printed = lines(capsys)
        for name in old:
            assert f"{name} (another version's, with 0 parked): deleted" in printed
        assert group_names() == {*others, *(group.name for group in GROUPS)}

    def test_says_who_must_be_in_ops(
        self, guarded: GuardedStore, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(CommandError, match="lepret may not make, change or delete"):
            prepare(guarded, user="lepret")
        assert "--admin-uri-file" in capsys.readouterr().out
        assert group_names() == set()

    def test_says_that_a_password_is_wrong(self, guarded: GuardedStore, settings: Settings) -> None:
        settings.EVENTSTORE_URI = guarded.uri("ops")
        guarded.users["ops"] = User("another")
        with pytest.raises(CommandError, match="EventStoreDB refuses the password of ops"):
            call_command("prepare_event_store", "--groups-only")

    def test_says_that_the_store_is_away(self, settings: Settings) -> None:
        settings.EVENTSTORE_URI = f"esdb://127.0.0.1:{free_port()}?tls=false"
        with pytest.raises(CommandError, match="The event store is away"):
            call_command("prepare_event_store")

    def test_needs_no_rights_where_there_are_no_users(
        self, event_store: RunningEventStore, capsys: pytest.CaptureFixture[str]
    ) -> None:
        call_command("prepare_event_store")
        assert lines(capsys) == [f"{group.name}: made" for group in GROUPS]


class TestRights:
    def test_are_printed_with_what_to_type(
        self, guarded: GuardedStore, capsys: pytest.CaptureFixture[str]
    ) -> None:
        prepare(guarded, "--user", "lepret-web", "lepret-workers")
        printed = capsys.readouterr().out
        curl = f"curl --user admin --cacert {guarded.ca_file} https://127.0.0.1:{guarded.port}"
        assert "--admin-uri-file FILE --user lepret-web lepret-workers\n" in printed
        assert f"{curl}/streams/%24all/metadata" in printed
        assert '{"$acl": {"$r": ["$admins", "lepret-web", "lepret-workers"]}}' in printed
        assert f"{curl}/users/" in printed
        assert guarded.users["ops"].password not in printed

    def test_are_given_by_an_admin_once(
        self, guarded: GuardedStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        guarded.users["lepret-web"] = User("password-of-web")
        assert not may_read_all(guarded, "lepret-web")
        file = tmp_path / "admin-uri"
        file.write_text(guarded.uri("admin"))
        for when in ("now", "already"):
            prepare(guarded, f"--admin-uri-file={file}", user="lepret-web")
            printed = capsys.readouterr().out
            assert printed.splitlines()[-1] == f"lepret-web: may {when} read $all"
            assert may_read_all(guarded, "lepret-web")
            assert may_read_all(guarded, "lepret"), "as before"
            assert "changeit" not in printed
        assert event_store_client().get_stream("$$$all")[-1].stream_position == 1
        assert group_names() == {group.name for group in GROUPS}

    def test_are_not_given_by_others(self, guarded: GuardedStore, tmp_path: Path) -> None:
        file = tmp_path / "admin-uri"
        file.write_text(guarded.uri("ops"))
        with pytest.raises(CommandError, match="ops may not give rights"):
            prepare(guarded, f"--admin-uri-file={file}", user="lepret")

    @pytest.mark.parametrize("content", [None, "", "two\nlines", "http://x", "esdb://:geheim@?tls"])
    def test_want_the_uri_of_an_admin(
        self, guarded: GuardedStore, tmp_path: Path, content: str | None
    ) -> None:
        file = tmp_path / "admin-uri"
        if content is not None:
            file.write_text(content)
        with pytest.raises(CommandError, match="URI") as caught:
            prepare(guarded, f"--admin-uri-file={file}")
        assert "geheim" not in str(caught.value)


def lines(capsys: pytest.CaptureFixture[str]) -> Sequence[str]:
    return capsys.readouterr().out.splitlines()


def group_names() -> set[str]:
    return {info.group_name for info in event_store_client().list_subscriptions()}


def may_read_all(store: GuardedStore, user: str) -> bool:
    client = EventStoreDBClient(store.uri(user))
    try:
        client.get_commit_position(timeout=PATIENCE)
    except GrpcError:
        return False
    finally:
        client.close()
    return True
