"""Whoever gave a command sees it done: real processes, one PostgreSQL, many who wait at once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from readmodels.projections import PROJECTIONS
from tests.support.demo import Demo, running_demo
from tests.support.postgresql import RunningPostgreSQL
from tests.support.processes import wait_until

SECONDS = 20.0
# As the settings have it: how long a request waits for a read model.
BOUND = 2.0
APPLICATION = {"name": "Ada Example", "national_id": "999999aa", "amount": 1000}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory, postgresql: RunningPostgreSQL) -> Iterator[Demo]:
    # PostgreSQL, since there the connections are bounded that those who wait could use up.
    environment = {"DATABASE_URL": postgresql.new_database()}
    data_dir = tmp_path_factory.mktemp("demo") / "data"
    with running_demo(data_dir, environment=environment) as demo:
        wait_until(lambda: ask_after(demo, apply(demo))["up_to_date"], SECONDS)
        yield demo


def apply(demo: Demo) -> httpx2.Response:
    return httpx2.post(
        f"{demo.base_url}/api/loan-requests", json=APPLICATION, timeout=10, trust_env=False
    )


def ask_after(demo: Demo, answer: httpx2.Response, after: int | None = None) -> dict[str, object]:
    command = answer.json()
    position = command["position"] if after is None else after
    document: dict[str, object] = demo.get(
        f"/api/loan-requests/{command['id']}?after={position}"
    ).json()
    return document


def metric(demo: Demo, name: str) -> float:
    """A metric of the web server: of several projections, the highest."""
    families = text_string_to_metric_families(demo.get("/metrics").text)
    return max(
        sample.value for family in families for sample in family.samples if sample.name == name
    )


def test_what_was_recorded_is_answered_as_soon_as_it_is_known(demo: Demo) -> None:
    for _ in range(10):
        answer = ask_after(demo, apply(demo))
        assert (answer["status"], answer["up_to_date"]) == ("approved", True)


def test_any_number_who_wait_do_not_hold_up_another(demo: Demo) -> None:
    loan = apply(demo)
    assert ask_after(demo, loan)["up_to_date"] is True
    with ThreadPoolExecutor(25) as executor:
        began = time.monotonic()
        waiting = [executor.submit(ask_after, demo, loan, 2**60) for _ in range(25)]
        wait_until(lambda: metric(demo, "lepret_waiting_requests") == len(waiting), BOUND)

        answer = ask_after(demo, apply(demo))

        took = time.monotonic() - began
        assert not any(each.done() for each in waiting), "all of them still wait"
        assert answer["up_to_date"] is True
        assert took < BOUND
        assert [each.result()["up_to_date"] for each in waiting] == [False] * len(waiting)
        assert time.monotonic() - began < 2 * BOUND, "they waited beside each other"


def test_the_command_line_says_that_all_are_level(demo: Demo) -> None:
    apply(demo)
    wait_until(lambda: "behind" not in demo.manage("projections").stdout, SECONDS)
    result = demo.manage("projections", "--max-lag", "5")
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("level") == len(PROJECTIONS)


def test_metrics_come_from_the_running_web_server(demo: Demo) -> None:
    assert metric(demo, "lepret_projections_up") == 1
    wait_until(lambda: metric(demo, "lepret_projection_lag_events") == 0, SECONDS)
    assert metric(demo, "lepret_projection_position") > 0
    assert metric(demo, "lepret_projection_stopped") == 0
