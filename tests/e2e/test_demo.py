"""`manage.py demo`, as a user runs it: real processes, killed, stopped and started again."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from uuid import UUID, uuid4

import httpx2
import pytest
from playwright.sync_api import expect

from tests.support.browser import new_page, running_browser
from tests.support.demo import COMMANDS, Demo, running_demo, started_demo
from tests.support.event_store import needs_the_embedded_store
from tests.support.pages import fill_in, send
from tests.support.postgresql import RunningPostgreSQL
from tests.support.processes import PATIENCE, PROJECT, is_alive, is_free, wait_until
from tests.support.web_servers import running_daphne

STARTS_IT = "a demo starts, stops and deletes only its own"


def apply(demo: Demo) -> UUID:
    """Apply for a loan that is approved at once, and wait until the read model shows it."""
    body = {"id": str(uuid4()), "name": "Ada Example", "national_id": "999999aa", "amount": 1000}
    loan = UUID(demo.apply(body)["id"])
    wait_until(lambda: demo.status_of(loan) == "approved")
    return loan


class TestARunningDemo:
    @pytest.mark.parametrize("path", ["/", "/api/docs", "/healthz", "/readyz"])
    def test_shows_its_pages_to_everyone(self, demo: Demo, path: str) -> None:
        assert demo.get(path).status_code == httpx2.codes.OK

    @pytest.mark.parametrize(
        ("name", "path"),
        [
            ("underwriter", "/underwriting/"),
            ("colleague", "/underwriting/"),
            ("lead", "/underwriting/"),
            ("clerk", "/admin/"),
            ("policy", "/admin/policy/propose/"),
            ("policy-second", "/admin/policy/propose/"),
            ("admin", "/admin/"),
        ],
    )
    def test_has_accounts_whose_passwords_are_their_names(
        self, demo: Demo, name: str, path: str
    ) -> None:
        with demo.browser(name, name) as browser:
            assert browser.get(path).status_code == httpx2.codes.OK

    def test_says_where_everything_is(self, demo: Demo) -> None:
        uri = demo.published["EVENTSTORE_URI"]
        for address in ("/", "/underwriting/", "/admin/", "/api/docs"):
            assert f"{demo.base_url}{address} " in demo.output
        assert uri in demo.output
        for name in ("underwriter", "colleague", "lead", "clerk", "policy", "admin"):
            assert f"(password: {name})" in demo.output

    def test_goes_by_a_policy_of_its_own(self, demo: Demo) -> None:
        shown = demo.manage("policy", "show", "1")
        assert "Version 1, proposed by policy and confirmed by policy-second" in shown.stderr
        policy = json.loads(shown.stdout)
        assert (policy["automatic_up_to"], policy["undo_seconds"]) == (10_000, 5)

    def test_keeps_its_secrets_to_itself(self, demo: Demo) -> None:
        for name in ("DJANGO_SECRET_KEY", "LEPRET_HMAC_KEY"):
            secret = demo.published[name]
            assert len(secret) >= 50
            assert secret not in demo.output
        for name in ("secret.key", "hmac.key", "demo.env"):
            assert (demo.data_dir / name).stat().st_mode & 0o777 == 0o600

    def test_prints_no_personal_data(self, demo: Demo) -> None:
        apply(demo)
        for personal in ("Ada Example", "999999aa"):
            assert personal not in demo.output

    def test_is_found_by_commands_in_another_terminal(self, demo: Demo) -> None:
        loan = apply(demo)
        code = "from django.conf import settings; print(settings.EVENTSTORE_URI)"
        assert (
            demo.manage("shell", "-v0", "-c", code).stdout.strip()
            == (demo.published["EVENTSTORE_URI"])
        )
        rebuilding = demo.manage("rebuild")
        assert rebuilding.returncode == 0, rebuilding.stderr
        wait_until(lambda: demo.status_of(loan) == "approved")

    def test_takes_applications_from_manage_py_apply(self, demo: Demo) -> None:
        applying = demo.manage("apply", "--url", demo.base_url, "--count", "20", "--seed", "1")
        assert applying.returncode == 0, applying.stdout + applying.stderr
        assert "20 applications in" in applying.stdout

    @pytest.mark.parametrize("name", COMMANDS)
    def test_starts_a_killed_child_again(self, demo: Demo, name: str) -> None:
        if name == "store":
            needs_the_embedded_store(STARTS_IT)
        loan = apply(demo)
        killed = demo.pid_of(name)
        assert killed is not None
        announced = demo.output.count(f"{name} was ended by SIGKILL; starting it again in")

        os.kill(killed, signal.SIGKILL)

        back = wait_until(lambda: (pid := demo.pid_of(name)) != killed and pid)
        assert back
        wait_until(demo.is_ready)
        assert demo.output.count(f"{name} was ended by SIGKILL; starting it again in") == (
            announced + 1
        )
        assert demo.status_of(loan) == "approved"
        apply(demo)


class TestADemoThatCannotStart:
    def test_because_its_port_is_taken_says_so_and_starts_nothing(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with started_demo(tmp_path / "data", port=port) as demo:
                assert demo.wait() == 1
                [line] = demo.output.splitlines()
        assert line == (
            f"CommandError: Port {port} is taken on 127.0.0.1; choose another with --port"
        )
        assert not (tmp_path / "data" / "events.sqlite3").exists()

    def test_because_it_cannot_stop_a_given_credit_bureau_says_so(self, tmp_path: Path) -> None:
        given = {"CREDIT_BUREAU_URL": "http://127.0.0.1:9"}
        with started_demo(tmp_path / "data", "--outage", "5", environment=given) as demo:
            assert demo.wait() == 1
            [line] = demo.output.splitlines()
        assert line.startswith("CommandError: --outage does not go with CREDIT_BUREAU_URL:")
        assert not (tmp_path / "data").exists()

    def test_because_another_demo_uses_its_data_directory_says_so(self, demo: Demo) -> None:
        with started_demo(demo.data_dir, "--fresh") as second:
            assert second.wait() == 1
            [line] = second.output.splitlines()
        assert line.startswith(f"CommandError: Another demo (process {demo.process.pid}) is using")
        assert demo.is_ready()

    def test_because_the_directory_has_foreign_files_leaves_them_alone(
        self, tmp_path: Path
    ) -> None:
        (tmp_path / "notes.txt").write_text("mine")
        (tmp_path / "lepret.sqlite3").write_text("mine too")
        with started_demo(tmp_path, "--fresh") as demo:
            assert demo.wait() == 1
            [line] = demo.output.splitlines()
        assert "holds files that are not a demo's (notes.txt" in line
        assert sorted(file.name for file in tmp_path.iterdir()) == ["lepret.sqlite3", "notes.txt"]

    def test_because_a_migration_fails_says_so_and_leaves_nothing_running(
        self, tmp_path: Path
    ) -> None:
        broken = {"DATABASE_URL": f"sqlite:///{tmp_path}/no-such-directory/lepret.sqlite3"}
        with started_demo(tmp_path / "data", environment=broken) as demo:
            children: set[int] = set()

            def has_ended() -> bool:
                children.update(child.pid for child in demo.children())
                return demo.process.poll() is not None

            wait_until(has_ended)
            assert demo.process.returncode == 1
            last_line = demo.output.splitlines()[-1]
        assert last_line == (
            "CommandError: The demo could not be prepared: setup ended with exit status 1"
        )
        assert children
        assert not any(map(is_alive, children))


class TestAnothersDatabase:
    @pytest.fixture
    def production(self, tmp_path: Path, demo: Demo) -> Mapping[str, str]:
        """The variables of a server that is no demo, with a database that it has just made."""
        variables = {
            **demo.environment,
            **demo.published,
            "LEPRET_DEMO": "false",
            "LEPRET_DATA_DIR": str(tmp_path),
            "DATABASE_URL": f"sqlite:///{tmp_path}/production.sqlite3",
        }
        subprocess.run(
            [sys.executable, "manage.py", "migrate", "-v0"], cwd=PROJECT, env=variables, check=True
        )
        return variables

    def test_is_refused_and_left_as_it_was(
        self, tmp_path: Path, production: Mapping[str, str]
    ) -> None:
        before = (tmp_path / "production.sqlite3").read_bytes()
        named = {"DATABASE_URL": production["DATABASE_URL"]}
        with started_demo(tmp_path / "data", "--fresh", environment=named) as demo:
            assert demo.wait() == 1
            [line] = demo.output.splitlines()
        assert line.startswith(
            "CommandError: DATABASE_URL names a database that is not a demo's (it has tables, "
        )
        assert (tmp_path / "production.sqlite3").read_bytes() == before
        assert not (tmp_path / "data").exists()

    def test_a_server_on_a_demos_database_lets_nobody_in(
        self, demo: Demo, production: Mapping[str, str]
    ) -> None:
        on_the_demos = {**production, "DATABASE_URL": demo.published["DATABASE_URL"]}
        with running_daphne(on_the_demos) as web:
            wait_until(web.is_ready)
            with pytest.raises(AssertionError), web.browser("admin", "admin"):
                pass
        with demo.browser("admin", "admin") as browser:
            assert browser.get("/admin/").status_code == httpx2.codes.OK


def test_an_empty_database_is_taken_and_used_again(
    tmp_path: Path, postgresql: RunningPostgreSQL
) -> None:
    named = {"DATABASE_URL": postgresql.new_database()}
    for _ in range(2):
        with running_demo(tmp_path / "data", environment=named) as demo:
            apply(demo)
            assert demo.stop() == 0


def test_a_demo_that_others_can_reach_shows_the_password_that_it_made(tmp_path: Path) -> None:
    with running_demo(tmp_path / "data", "--host", "0.0.0.0") as demo:  # noqa: S104
        found = re.search(r"admin .*\(password: (\S+)\)", demo.output)
        assert found is not None
        with demo.browser("admin", found[1]) as browser:
            assert browser.get("/admin/").status_code == httpx2.codes.OK
        with pytest.raises(AssertionError), demo.browser("admin", "admin"):
            pass


def test_what_the_environment_names_is_used_and_nothing_started_in_its_place(
    demo: Demo, tmp_path: Path
) -> None:
    # Systems that share an event store must share the key of its stream names.
    names = ("EVENTSTORE_URI", "REDIS_URL", "LEPRET_HMAC_KEY")
    named = {name: demo.published[name] for name in names}
    with running_demo(tmp_path / "data", environment=named) as second:
        assert [second.pid_of(name) for name in ("store", "valkey")] == [None, None]
        assert second.published["LEPRET_HMAC_KEY"] == named["LEPRET_HMAC_KEY"]
        loan = apply(second)
        # They share the event store, so the first demo's projector sees the loan too.
        wait_until(lambda: demo.status_of(loan) == "approved")


def test_an_application_during_an_outage_is_received_and_decided_afterwards(tmp_path: Path) -> None:
    seconds = 8
    outage = ("--outage", str(seconds))
    with running_browser() as browser, running_demo(tmp_path / "data", *outage) as demo:
        away = f"the credit bureau is away for {seconds} seconds"
        wait_until(lambda: away in demo.output)
        page = new_page(browser, demo.base_url)
        page.goto("/")
        fill_in(page, "Ada Example", "999999aa")
        send(page)
        expect(page.get_by_role("heading", name="Received")).to_be_visible()
        expect(page.get_by_text("are checking your credit")).to_be_visible()
        assert "the credit bureau is back" not in demo.output

        approved = page.get_by_role("heading", name="Approved")
        expect(approved).to_be_visible(timeout=1000 * (seconds + PATIENCE))

        wait_until(lambda: "the credit bureau is back" in demo.output)


def test_sigterm_stops_it_and_leaves_no_process(tmp_path: Path) -> None:
    needs_the_embedded_store(STARTS_IT)
    with running_demo(tmp_path / "data") as demo:
        children = [child.pid for child in demo.children()]
        ports = demo.ports
        assert len(children) == len(COMMANDS)

        assert demo.stop(signal.SIGTERM) == 0

        assert not any(map(is_alive, children))
        assert all(map(is_free, ports))
        assert not (demo.data_dir / "demo.env").exists()


def test_data_survives_a_restart(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    with running_demo(data_dir) as demo:
        loan = apply(demo)
        keys = {name: demo.published[name] for name in ("DJANGO_SECRET_KEY", "LEPRET_HMAC_KEY")}
        assert demo.stop(signal.SIGINT) == 0
    with running_demo(data_dir) as demo:
        assert demo.status_of(loan) == "approved"
        assert keys.items() <= demo.published.items()


def test_its_children_end_when_it_is_killed_and_a_fresh_start_deletes_its_data(
    tmp_path: Path,
) -> None:
    needs_the_embedded_store(STARTS_IT)
    data_dir = tmp_path / "data"
    with running_demo(data_dir) as demo:
        loan = apply(demo)
        (data_dir / "notes.txt").write_text("not the demo's")
        children = [child.pid for child in demo.children()]
        demo.process.kill()
        wait_until(lambda: not any(map(is_alive, children)))
    with running_demo(data_dir, "--fresh", port=demo.port) as demo:
        assert demo.status_of(loan) == ""
        assert (data_dir / "notes.txt").exists()
        apply(demo)
