"""The pages that say what another policy would have done, with the process that finds it out."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any, Final
from uuid import UUID, uuid4

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import Settings

from lepret import settings as project_settings
from loans.application import simulation_runs
from loans.application.simulation_runs import AnotherRuns, Run, RunsUnavailable
from loans.dependencies import policies
from loans.domain.lending_policy import POLICY_ID, PublishPolicy
from loans.domain.policy import Policy
from loans.web import simulation_processes
from tests.support.event_store import RunningEventStore
from tests.support.loans import append_a_loan_of_each_kind, append_requested_loan
from tests.support.processes import (
    PROJECT,
    Process,
    descendants,
    free_port,
    is_alive,
    wait_until,
)
from tests.support.staff import make_policy_maker
from tests.support.valkey import RunningValkey

pytestmark = [
    pytest.mark.django_db,
    # Django's own admin templates use undefined variables.
    pytest.mark.ignore_template_errors,
]

ADDRESS: Final = "/admin/policy/simulations/"
SECONDS: Final = 120.0
STRICTER: Final = {"deny_up_to": 5, "approve_from": 10}
POLL: Final = {"HX-Request": "true"}


@pytest.fixture
def kept(
    shared_valkey: RunningValkey, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """The cache is a Valkey, with the project's options, and that of the processes as well."""
    default = project_settings.CACHES["default"]
    settings.CACHES = {"default": {**default, "LOCATION": shared_valkey.url}}
    monkeypatch.setenv("REDIS_URL", shared_valkey.url)
    cache.clear()
    yield
    for process in simulations_running():
        os.kill(process.pid, signal.SIGKILL)
    # What watches them notes their ends in this cache.
    wait_until(lambda: not watchers(), SECONDS)
    cache.clear()


def watchers() -> list[str]:
    return [each.name for each in threading.enumerate() if each.name == "simulation"]


@pytest.fixture
def processes(
    event_store: RunningEventStore, kept: None, monkeypatch: pytest.MonkeyPatch
) -> RunningEventStore:
    """Simulations run on the event store of this test."""
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "lepret.settings")
    monkeypatch.setenv("EVENTSTORE_URI", event_store.uri)
    return event_store


@pytest.fixture
def pat(client: Client) -> User:
    """The policy maker who is logged in to `client`."""
    user = make_policy_maker()
    client.force_login(user)
    return user


def simulations_running() -> list[Process]:
    return [each for each in descendants(os.getpid()) if "simulate_policy" in each.command_line]


def a_run(**fields: Any) -> Run:
    known: dict[str, Any] = {
        "id": uuid4(), "by": "pat", "began_at": timezone.now(), "what": "version 1",
        "policy": Policy(),
    }  # fmt: skip
    return Run(**known | fields)


def start(client: Client, policy: dict[str, Any] = STRICTER, **fields: Any) -> str:
    """Start a simulation; returns its address."""
    form = {"which": "pasted", "text": json.dumps(policy), **fields}
    answer = client.post(ADDRESS, form)
    assert answer.status_code == 302, answer.content.decode()
    return answer["Location"]


def is_over(client: Client, address: str) -> bool:
    return client.get(address, headers=POLL).status_code == 286


def text_of(client: Client, address: str) -> str:
    """The words on a page, without tags."""
    answer = client.get(address)
    assert answer.status_code == 200
    return " ".join(re.sub("<[^>]*>", " ", answer.content.decode()).split())


@pytest.mark.usefixtures("pat", "processes")
class TestResult:
    def test_is_shown_once_it_is_there(self, client: Client) -> None:
        append_a_loan_of_each_kind()
        address = start(client)
        wait_until(lambda: is_over(client, address), SECONDS)
        page = text_of(client, address)
        assert "5 requests for £25,000" in page
        assert "3 would stand otherwise" in page
        assert "Under review 0 1 £5,000 0" not in page
        assert "Denied by people 0 1 £5,000" in page
        assert "denied at once, underwriters had approved 1." in page
        assert "How a person would have decided" in page
        assert 'hx-trigger="every 1s"' not in client.get(address).content.decode()

    def test_is_that_of_the_chosen_days(self, client: Client) -> None:
        append_requested_loan(score=9)
        tomorrow = timezone.localdate() + timedelta(days=1)
        address = start(client, first=f"{tomorrow}")
        wait_until(lambda: is_over(client, address), SECONDS)
        assert "There is no request to simulate." in text_of(client, address)

    def test_is_that_of_the_proposed_version(self, client: Client) -> None:
        append_requested_loan(score=9)
        now = timezone.now()
        proposal = PublishPolicy(
            id=POLICY_ID, issued_at=now, by="paul", why="safer", effective_at=now,
            policy=Policy.model_validate(STRICTER),
        )  # fmt: skip
        policies().carry_out(proposal)
        assert "Version 1, proposed by paul" in client.get(ADDRESS).content.decode()
        address = start(client, which="1")
        wait_until(lambda: is_over(client, address), SECONDS)
        assert "1 would stand otherwise" in text_of(client, address)

    def test_links_to_requests_those_who_may_see_them(self, client: Client) -> None:
        loan = append_requested_loan(score=9).loan_request_id
        link = reverse("admin:readmodels_loanrequest_change", args=[loan])
        address = start(client)
        wait_until(lambda: is_over(client, address), SECONDS)
        page = client.get(address).content.decode()
        assert str(loan) in page
        assert link not in page
        client.force_login(User.objects.create_superuser("root"))
        assert link in client.get(address).content.decode()


@pytest.mark.usefixtures("pat", "processes")
class TestProcess:
    def test_one_runs_at_a_time(self, client: Client, processes: RunningEventStore) -> None:
        with processes.frozen():
            address = start_quietly(client)
            answer = client.post(ADDRESS, {"which": "pasted", "text": json.dumps(STRICTER)})
        assert answer.status_code == 409
        assert address in answer.content.decode()
        wait_until(lambda: is_over(client, address), SECONDS)
        start(client)

    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
    def test_one_that_dies_has_failed(
        self, client: Client, processes: RunningEventStore, number: int
    ) -> None:
        with processes.frozen():
            address = start_quietly(client)
            assert not is_over(client, address)
            (process,) = simulations_running()
            os.kill(process.pid, number)
            wait_until(lambda: is_over(client, address), SECONDS)
        assert "It has failed." in text_of(client, address)
        assert 'role="alert"' in client.get(address, headers=POLL).content.decode()

    def test_another_can_be_started_after_it(
        self, client: Client, processes: RunningEventStore
    ) -> None:
        with processes.frozen():
            address = start_quietly(client)
            (process,) = simulations_running()
            os.kill(process.pid, signal.SIGKILL)
            wait_until(lambda: is_over(client, address), SECONDS)
        address = start(client)
        wait_until(lambda: is_over(client, address), SECONDS)
        assert "There is no request to simulate." in text_of(client, address)

    def test_ends_with_the_web_server(self, processes: RunningEventStore) -> None:
        run = a_run()
        with processes.frozen():
            with subprocess.Popen(
                [sys.executable, "-c", _WEB_SERVER, run.model_dump_json()], cwd=PROJECT
            ) as web_server:
                (process,) = wait_until(simulations_running, SECONDS)
                wait_until(lambda: has_beaten(run.id), SECONDS)
                web_server.kill()
            wait_until(lambda: not is_alive(process.pid), SECONDS)
        seen = simulation_runs.look(run.id)
        assert seen is not None
        assert "stopped" in seen.run.problem

    def test_says_that_the_event_store_is_away(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("EVENTSTORE_URI", f"esdb://127.0.0.1:{free_port()}?tls=false")
        address = start(client)
        wait_until(lambda: is_over(client, address), SECONDS)
        assert "The event store does not answer." in text_of(client, address)


# A web server that has started a simulation.
_WEB_SERVER: Final = """
import sys, time
import django
django.setup()
from loans.application.simulation_runs import Run
from loans.web import simulation_processes
simulation_processes.start(Run.model_validate_json(sys.argv[1]))
time.sleep(600)
"""


def start_quietly(client: Client) -> str:
    """Start one while the event store is frozen, which the page asks for its versions."""
    run = a_run(policy=Policy.model_validate(STRICTER))
    simulation_processes.start(run)
    wait_until(lambda: has_beaten(run.id), SECONDS)
    return f"{ADDRESS}{run.id}/"


def has_beaten(run_id: UUID) -> bool:
    return cache.get(f"policy-simulation:{run_id}:percent") is not None


@pytest.mark.usefixtures("pat", "streams", "kept")
class TestForm:
    @pytest.mark.parametrize(
        ("fields", "problem"),
        [
            ({"which": "pasted", "text": "{"}, "Invalid JSON"),
            ({"which": "pasted", "text": ""}, "Invalid JSON"),
            ({"which": "pasted", "text": '{"aprove_from": 8}'}, "aprove_from: There is no such"),
            ({"which": "7"}, "not one of the available choices"),
            ({}, "This field is required."),
            ({"which": "0", "first": "soon"}, "Enter a valid date."),
            ({"which": "0", "first": "2026-11-02", "last": "2026-11-01"}, "before the first day"),
        ],
    )
    def test_says_what_is_wrong(self, client: Client, fields: dict[str, str], problem: str) -> None:
        answer = client.post(ADDRESS, fields)
        assert answer.status_code == 422
        assert problem in answer.content.decode()
        assert simulations_running() == []

    def test_begins_with_the_version_that_a_link_names(self, client: Client) -> None:
        page = client.get(f"{ADDRESS}?which=pasted").content.decode()
        assert '<option value="pasted" selected>' in page
        assert client.get(f"{ADDRESS}?which=nonsense").status_code == 200

    def test_lists_the_newest(self, client: Client) -> None:
        runs = [a_run(what=f"version {number}") for number in range(12)]
        for run in runs:
            simulation_runs.begin(run)
            simulation_runs.end(run.model_copy(update={"problem": "It was stopped."}))
        page = client.get(ADDRESS).content.decode()
        assert [str(run.id) in page for run in runs] == [False] * 2 + [True] * 10

    def test_unknown_simulation(self, client: Client) -> None:
        assert client.get(f"{ADDRESS}{uuid4()}/").status_code == 404


@pytest.mark.usefixtures("pat")
class TestOutages:
    @pytest.fixture
    def no_cache(self, settings: Settings) -> None:
        default = project_settings.CACHES["default"]
        nowhere = f"redis://127.0.0.1:{free_port()}/0"
        settings.CACHES = {"default": {**default, "LOCATION": nowhere}}

    @pytest.mark.usefixtures("no_cache", "streams")
    def test_of_the_cache(self, client: Client) -> None:
        page = client.get(ADDRESS)
        assert page.status_code == 200
        assert "the cache, which keeps them, does not answer" in page.content.decode()
        assert client.post(ADDRESS, {"which": "0"}).status_code == 503
        assert client.get(f"{ADDRESS}{uuid4()}/").status_code == 503
        with pytest.raises(RunsUnavailable):
            simulation_runs.begin(a_run())
        # The page goes on to ask.
        assert client.get(f"{ADDRESS}{uuid4()}/", headers=POLL).status_code == 200

    @pytest.mark.usefixtures("kept", "no_event_store")
    def test_of_the_event_store(self, client: Client) -> None:
        page = client.get(ADDRESS)
        assert page.status_code == 200
        assert "The stored versions cannot be shown" in page.content.decode()


@pytest.mark.usefixtures("kept")
class TestRuns:
    def test_only_one_begins(self) -> None:
        first, second = a_run(), a_run()
        simulation_runs.begin(first)
        with pytest.raises(AnotherRuns) as refused:
            simulation_runs.begin(second)
        assert refused.value.run_id == first.id
        assert simulation_runs.look(second.id) is None
        simulation_runs.end(first.model_copy(update={"problem": "It was stopped."}))
        simulation_runs.begin(second)

    def test_one_that_was_taken_for_dead_does_not_go_on_beside_another(self) -> None:
        first, second = a_run(), a_run()
        simulation_runs.begin(first)
        cache.delete("policy-simulation:alive")  # As it is after a silence.
        seen = simulation_runs.look(first.id)
        assert seen is not None
        assert not seen.is_running
        simulation_runs.begin(second)
        assert not simulation_runs.beat(first.id, 50)
        assert simulation_runs.beat(second.id, 50)
        # Its end does not end the other one.
        simulation_runs.end(first)
        assert not simulation_runs.beat(first.id, 50)

    def test_one_that_was_taken_for_dead_goes_on_alone(self) -> None:
        run = a_run(first=date(2026, 11, 1))
        simulation_runs.begin(run)
        cache.delete("policy-simulation:alive")
        assert simulation_runs.beat(run.id, 50)
        seen = simulation_runs.look(run.id)
        assert seen is not None
        assert (seen.is_running, seen.percent, seen.run) == (True, 50, run)


def test_leads_whose_session_is_over_to_the_login_page(client: Client) -> None:
    """The page asks for a part of itself, which the login page is not."""
    address = f"{ADDRESS}{uuid4()}/"
    answer = client.get(address, headers=POLL)
    assert answer.status_code == 200
    assert answer["HX-Redirect"] == f"/accounts/login/?next={address}"
