"""Callers read the results of their commands: real processes, PostgreSQL, many waiting requests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from readmodels.projections import PROJECTIONS
from tests.support.demo import Demo, running_demo
from tests.support.postgresql import RunningPostgreSQL
from tests.support.processes import wait_until

# Positions that only some twenty applications reach.
FAR = 100
APPLICATION = {"name": "Ada Example", "national_id": "999999aa", "amount": 1000}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory, postgresql: RunningPostgreSQL) -> Iterator[Demo]:
    # PostgreSQL, where waiting requests could use up the connection pool.
    environment = {
        "DATABASE_URL": postgresql.new_database(),
        "DJANGO_SETTINGS_MODULE": "tests.patient_settings",
    }
    data_dir = tmp_path_factory.mktemp("demo") / "data"
    with running_demo(data_dir, environment=environment) as demo:
        wait_until(lambda: ask_after(demo, demo.apply(APPLICATION))["up_to_date"])
        yield demo


def ask_after(demo: Demo, applied: Mapping[str, Any], after: int | None = None) -> dict[str, Any]:
    """The API's answer about a loan, waiting for its application or for the position `after`."""
    position = applied["position"] if after is None else after
    document: dict[str, Any] = demo.get(
        f"/api/loan-requests/{applied['id']}?after={position}"
    ).json()
    return document


def metric(demo: Demo, name: str) -> float:
    """A metric of the web server; the highest value if there are several."""
    families = text_string_to_metric_families(demo.get("/metrics").text)
    return max(
        sample.value for family in families for sample in family.samples if sample.name == name
    )


def test_a_caller_sees_the_decision_of_its_own_application(demo: Demo) -> None:
    for _ in range(10):
        answer = ask_after(demo, demo.apply(APPLICATION))
        assert (answer["status"], answer["up_to_date"]) == ("approved", True)


def test_many_waiting_requests_do_not_delay_another(demo: Demo) -> None:
    loan = demo.apply(APPLICATION)
    assert ask_after(demo, loan)["up_to_date"] is True
    later = loan["position"] + FAR
    with ThreadPoolExecutor(25) as executor:
        waiting = [executor.submit(ask_after, demo, loan, later) for _ in range(25)]
        # All at the same time: none waits for another's end.
        wait_until(lambda: metric(demo, "lepret_waiting_requests") == len(waiting))

        answer = ask_after(demo, demo.apply(APPLICATION))

        assert not any(each.done() for each in waiting), "all of them still wait"
        assert answer["up_to_date"] is True
        while demo.apply(APPLICATION)["position"] < later:
            pass
        assert [each.result()["up_to_date"] for each in waiting] == [True] * len(waiting)


def test_the_command_line_shows_that_all_projections_are_level(demo: Demo) -> None:
    demo.apply(APPLICATION)
    wait_until(lambda: "behind" not in demo.manage("projections").stdout)
    result = demo.manage("projections", "--max-lag", "5")
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("level") == len(PROJECTIONS)


def test_metrics_come_from_the_running_web_server(demo: Demo) -> None:
    assert metric(demo, "lepret_projections_up") == 1
    wait_until(lambda: metric(demo, "lepret_projection_lag_events") == 0)
    assert metric(demo, "lepret_projection_position") > 0
    assert metric(demo, "lepret_projection_stopped") == 0
