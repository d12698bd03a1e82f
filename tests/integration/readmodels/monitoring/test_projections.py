"""`manage.py projections`, with a real event store behind it."""

from __future__ import annotations

import io
import json
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from readmodels.models import Checkpoint
from readmodels.monitoring.status import State, read_statuses
from readmodels.projections import PROJECTIONS
from tests.support.event_store import RunningEventStore
from tests.support.loans import append_event
from tests.support.projection_statuses import (
    EVENT_ID,
    checkpoint,
    checkpoints_at,
    failure,
    rebuild,
    skipped_event,
)

pytestmark = [pytest.mark.usefixtures("streams"), pytest.mark.django_db]

NAME = "loan_status"


def run(*arguments: str) -> str:
    out = io.StringIO()
    call_command("projections", *arguments, stdout=out)
    return out.getvalue()


def as_json(*arguments: str) -> dict[str, Any]:
    return {each["name"]: each for each in json.loads(run("--json", *arguments))}


def failing(*arguments: str) -> tuple[str, str]:
    """What the command prints, and its error."""
    out = io.StringIO()
    with pytest.raises(CommandError) as error:
        call_command("projections", *arguments, stdout=out)
    assert error.value.returncode == 1
    return out.getvalue(), str(error.value)


class TestStates:
    def state(self) -> State:
        return read_statuses([NAME])[NAME].state

    def test_without_a_row_it_is_not_built(self, event_store: RunningEventStore) -> None:
        append_event("SomethingHappened")
        statuses = read_statuses()
        assert set(statuses) == set(PROJECTIONS)
        assert {each.state for each in statuses.values()} == {State.NOT_BUILT}
        assert [each.lag.events for each in statuses.values() if each.lag] == [1] * len(PROJECTIONS)

    def test_at_the_stores_end_it_is_level(self) -> None:
        checkpoint(NAME, append_event("SomethingHappened"))
        assert self.state() == State.LEVEL

    def test_before_the_stores_end_it_is_behind(self) -> None:
        checkpoint(NAME, append_event("SomethingHappened"))
        append_event("SomethingHappened")
        assert self.state() == State.BEHIND

    def test_with_rows_of_an_older_version_the_new_one_waits(self) -> None:
        checkpoint(NAME, append_event("SomethingHappened"), version=0)
        assert self.state() == State.NEW_VERSION_WAITING

    def test_a_rebuild_says_how_far_it_is(self) -> None:
        position = append_event("SomethingHappened", times=4)
        checkpoint(NAME, position, version=0)
        rebuild(NAME, position // 2)
        status = read_statuses([NAME])[NAME]
        assert status.state == State.REBUILDING
        assert status.rebuilt_share == pytest.approx(0.5, abs=0.2)

    def test_a_failure_stops_it_and_is_said_first(self) -> None:
        checkpoint(NAME, append_event("SomethingHappened"))
        rebuild(NAME, 1)
        failure(NAME)
        assert self.state() == State.STOPPED

    def test_a_failure_of_its_rebuild_does_not_stop_it(self) -> None:
        checkpoint(NAME, append_event("SomethingHappened"))
        failure(NAME, in_rebuild=True)
        assert self.state() == State.LEVEL

    def test_without_the_event_store_what_the_database_knows_is_said(
        self, event_store: RunningEventStore
    ) -> None:
        checkpoint(NAME, 5)
        checkpoint("loan_requests", 5)
        failure("loan_requests")
        event_store.stop()
        statuses = read_statuses()
        assert statuses[NAME].state == State.UNKNOWN
        assert statuses[NAME].position == 5
        assert statuses["loan_requests"].state == State.STOPPED

    def test_a_projection_that_has_stopped_moving_has_no_speed(self) -> None:
        checkpoint(NAME, 1, events_per_second=100.0)
        assert read_statuses([NAME])[NAME].events_per_second == 100.0
        Checkpoint.objects.update(moved_at=timezone.now() - timedelta(seconds=11))
        assert read_statuses([NAME])[NAME].events_per_second == 0.0

    def test_all_of_them_take_three_queries(
        self, django_assert_num_queries: DjangoAssertNumQueries
    ) -> None:
        checkpoints_at(1)
        with django_assert_num_queries(3):
            read_statuses()


class TestCommand:
    def test_a_table_has_a_line_for_each(self) -> None:
        checkpoints_at(append_event("SomethingHappened"))
        table = run()
        assert all(name in table for name in PROJECTIONS)
        assert table.count("level") == len(PROJECTIONS)

    def test_json_has_the_keys_that_the_help_describes(self) -> None:
        position = append_event("SomethingHappened")
        checkpoints_at(position)
        assert as_json()[NAME] == {
            "name": NAME,
            "state": "level",
            "version": PROJECTIONS[NAME].version,
            "code_version": PROJECTIONS[NAME].version,
            "position": position,
            "store_position": position,
            "lag_seconds": 0.0,
            "lag_events": 0,
            "lag_events_is_at_least": False,
            "events": 0,
            "events_per_second": 0.0,
            "moved_at": Checkpoint.objects.get(name=NAME).moved_at.isoformat(),
            "failure": None,
            "waiting": None,
            "rebuild": None,
        }

    def test_json_describes_a_failure_and_a_rebuild(self) -> None:
        position = append_event("SomethingHappened")
        checkpoints_at(position)
        rebuild("loan_requests", position)
        failure("loan_requests", in_rebuild=True)
        described = as_json()["loan_requests"]["rebuild"]
        assert (described["version"], described["share"], described["events"]) == (2, 1.0, 5)
        assert described["failure"]["event_id"] == str(EVENT_ID)

    def test_only_those_that_are_named(self) -> None:
        checkpoints_at(append_event("SomethingHappened"))
        assert list(as_json(NAME)) == [NAME]

    def test_a_name_that_no_projection_has_is_an_error(self) -> None:
        with pytest.raises(CommandError, match="No projection nonsense"):
            run("nonsense")

    def test_one_that_is_stopped_fails_with_its_name_and_why(self) -> None:
        checkpoints_at(append_event("SomethingHappened"))
        failure(NAME)
        table, error = failing()
        assert error == f"{NAME}: stopped at 7: KeyError in loan_status.py:30"
        assert str(EVENT_ID) in table

    def test_one_that_is_too_far_behind_fails(self) -> None:
        checkpoints_at(append_event("SomethingHappened"))
        append_event("SomethingHappened")
        run("--max-lag", "60")
        _, error = failing("--max-lag", "0")
        assert error.count("seconds behind") == len(PROJECTIONS)

    def test_one_that_is_not_built_fails(self) -> None:
        checkpoint(NAME, append_event("SomethingHappened"))
        run(NAME)
        _, error = failing()
        others = [name for name in PROJECTIONS if name != NAME]
        assert error == "; ".join(f"{name}: not built" for name in others)

    def test_without_the_event_store_it_fails(self, event_store: RunningEventStore) -> None:
        checkpoints_at(5)
        event_store.stop()
        out, error = failing("--json")
        assert "unknown" in error
        assert {each["lag_seconds"] for each in json.loads(out)} == {None}

    def test_skipped_events_are_listed_when_asked_for(self) -> None:
        checkpoints_at(append_event("SomethingHappened"))
        skipped_event(NAME)
        assert "sent twice by mistake" not in run()
        assert "sent twice by mistake" in run("--skipped")
        assert [each["skipped_by"] for each in as_json("--skipped")[NAME]["skipped"]] == ["olga"]
        assert as_json("--skipped")["loan_requests"]["skipped"] == []
