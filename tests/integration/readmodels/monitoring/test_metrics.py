"""`/metrics`, and what `/readyz` says of projections, read in threads of their own."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import Client
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample
from pytest_django import Settings

from lepret import settings as project_settings
from lepret.environment import Environment
from loans.domain.policy import Policy
from readmodels.live import frame_latency, slow_reads
from readmodels.models import Checkpoint, PendingRequest
from tests.support.event_store import RunningEventStore
from tests.support.known_policies import known
from tests.support.loans import append_event
from tests.support.processes import wait_until
from tests.support.projection_statuses import checkpoint, checkpoints_at, failure

NAME = "loan_status"


def samples(client: Client) -> dict[str, list[Sample]]:
    response = client.get("/metrics")
    assert response.status_code == 200
    families = text_string_to_metric_families(response.content.decode())
    found: dict[str, list[Sample]] = {}
    for family in families:
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample)
    return found


def value(of: dict[str, list[Sample]], metric: str, name: str = NAME) -> float:
    [sample] = [each for each in of[metric] if each.labels == {"name": name}]
    return sample.value


@pytest.mark.usefixtures("read_models", "streams")
class TestMetrics:
    def test_each_projection_has_its_figures(self, client: Client) -> None:
        position = append_event("SomethingHappened")
        checkpoints_at(position)
        Checkpoint.objects.filter(name=NAME).update(events=12)
        last = append_event("SomethingHappened", times=3)
        failure("loan_requests")

        found = samples(client)

        assert [each.value for each in found["lepret_projections_up"]] == [1]
        assert value(found, "lepret_projection_position") == position
        assert value(found, "lepret_projection_store_position") == last
        assert value(found, "lepret_projection_lag_events") == 3
        assert value(found, "lepret_projection_lag_seconds") > 0
        assert value(found, "lepret_projection_events_total") == 12
        assert value(found, "lepret_projection_events_per_second") == 0
        assert value(found, "lepret_projection_stopped") == 0
        assert value(found, "lepret_projection_stopped", "loan_requests") == 1

    def test_subscriptions_that_were_too_slow_are_counted(self, client: Client) -> None:
        def counted() -> float:
            [sample] = samples(client)["lepret_subscriptions_too_slow_total"]
            return sample.value

        before = counted()
        slow_reads.note()
        wait_until(lambda: counted() == before + 1)

    def test_without_the_cache_a_scrape_is_answered(
        self, client: Client, settings: Settings
    ) -> None:
        settings.CACHES = {
            "default": {**project_settings.CACHES["default"], "LOCATION": "redis://127.0.0.1:1/0"}
        }
        found = samples(client)
        assert "lepret_projections_up" in found
        assert "lepret_subscriptions_too_slow_total" not in found

    def test_without_the_event_store_the_known_figures_are_shown(
        self, client: Client, event_store: RunningEventStore
    ) -> None:
        checkpoints_at(5)
        event_store.stop()
        found = samples(client)
        assert [each.value for each in found["lepret_projections_up"]] == [0]
        assert value(found, "lepret_projection_position") == 5
        assert "lepret_projection_lag_seconds" not in found

    def test_without_the_database_a_scrape_is_answered(
        self, client: Client, settings: Settings
    ) -> None:
        settings.READMODELS_DATABASE = "nowhere"
        found = samples(client)
        assert [each.value for each in found["lepret_projections_up"]] == [0]
        assert "lepret_projection_position" not in found

    def test_what_this_process_measures_is_there_too(self, client: Client) -> None:
        frame_latency.observe("underwriting", 0.0)
        found = samples(client)
        assert "lepret_event_to_frame_seconds_bucket" in found
        assert "python_info" in found

    def test_another_host_is_refused_and_plain_http_is_not(
        self, client: Client, settings: Settings
    ) -> None:
        settings.SECURE_SSL_REDIRECT = True
        assert client.get("/metrics", headers={"Host": "elsewhere.example"}).status_code == 400
        assert client.get("/metrics").status_code == 200


def waiting(*, days: float, **values: Any) -> PendingRequest:
    """A request that was complete so many days ago."""
    return PendingRequest.objects.create(
        id=uuid4(),
        name="Ann Example",
        national_id="555555aa",
        amount=1000,
        credit_score=5,
        requested_at=timezone.now() - timedelta(days=days),
        **values,
    )


@pytest.mark.usefixtures("read_models", "streams")
class TestTheQueue:
    def figures(self, client: Client) -> dict[str, float]:
        names = ("under_review", "claimed", "overdue", "past_legal_term")
        found = samples(client)
        return {name: found[f"lepret_requests_{name}"][0].value for name in names} | {
            "notices_due": found["lepret_notices_due"][0].value,
            "oldest": found["lepret_oldest_request_age_seconds"][0].value,
        }

    def test_nothing_waits(self, client: Client) -> None:
        assert set(self.figures(client).values()) == {0}

    def test_what_waits_is_counted_by_how_late_it_is(self, client: Client) -> None:
        for days in (0.1, 1.9, 2.1, 22.4, 22.6, 30.1):
            waiting(days=days)
        waiting(days=50, gone_at=timezone.now())
        figures = self.figures(client)
        assert figures.pop("oldest") == pytest.approx(timedelta(days=30.1).total_seconds(), abs=60)
        assert figures == {
            "under_review": 6,
            "claimed": 0,
            "overdue": 4,
            "notices_due": 2,
            "past_legal_term": 1,
        }

    def test_overdue_is_what_the_policy_in_force_calls_so(self, client: Client) -> None:
        known(1, Policy(decide_within=timedelta(days=5)))
        for days in (4.9, 5.1):
            waiting(days=days)
        assert self.figures(client)["overdue"] == 1

    def test_a_claim_counts_until_it_has_run_out(self, client: Client) -> None:
        for minutes in (-1, 5):
            until = timezone.now() + timedelta(minutes=minutes)
            waiting(days=1, claimed_by="uma", claimed_until=until)
        assert self.figures(client)["claimed"] == 1

    def test_a_request_of_a_clock_that_is_ahead_has_no_age(self, client: Client) -> None:
        waiting(days=-1)
        assert self.figures(client)["oldest"] == 0

    def test_without_the_database_they_are_left_out(
        self, client: Client, settings: Settings
    ) -> None:
        settings.READMODELS_DATABASE = "nowhere"
        assert "lepret_requests_overdue" not in samples(client)


@pytest.mark.django_db
@pytest.mark.usefixtures("read_models", "channel_layer", "streams")
class TestReadiness:
    def ready(self, client: Client) -> tuple[int, dict[str, Any]]:
        response = client.get("/readyz")
        return response.status_code, response.json()["projections"]

    def test_it_says_how_each_projection_stands(self, client: Client) -> None:
        position = append_event("SomethingHappened")
        checkpoints_at(position)
        status, projections = self.ready(client)
        assert status == 200
        assert projections[NAME] == {"state": "level", "position": position, "lag_seconds": 0.0}

    def test_being_behind_or_stopped_matters_only_where_a_bound_is_set(
        self, client: Client, settings: Settings
    ) -> None:
        checkpoints_at(append_event("SomethingHappened"))
        append_event("SomethingHappened")
        status, projections = self.ready(client)
        assert (status, projections[NAME]["state"]) == (200, "behind")
        settings.READYZ_MAX_LAG_SECONDS = 60.0
        assert self.ready(client)[0] == 200
        settings.READYZ_MAX_LAG_SECONDS = 0.0
        assert self.ready(client)[0] == 503
        settings.READYZ_MAX_LAG_SECONDS = 60.0
        failure(NAME)
        assert self.ready(client)[0] == 503
        settings.READYZ_MAX_LAG_SECONDS = None
        assert self.ready(client)[0] == 200

    def test_with_a_bound_a_node_without_read_models_is_not_ready(
        self, client: Client, settings: Settings
    ) -> None:
        append_event("SomethingHappened")
        checkpoint(NAME, 0)
        assert self.ready(client)[0] == 200
        settings.READYZ_MAX_LAG_SECONDS = 60.0
        assert self.ready(client)[0] == 503

    def test_without_the_event_store_the_positions_are_still_said(
        self, client: Client, event_store: RunningEventStore
    ) -> None:
        checkpoints_at(5)
        event_store.stop()
        unknown = {"state": "unknown", "position": 5, "lag_seconds": None}

        def is_told() -> bool:
            # A read that began before the store was stopped may still be under way.
            status, projections = self.ready(client)
            return status == 503 and projections[NAME] == unknown

        wait_until(is_told)


@pytest.mark.parametrize("value", ["soon", "-1", "nan", "inf"])
def test_a_bound_that_is_no_number_of_seconds_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, value: str
) -> None:
    monkeypatch.setenv("READYZ_MAX_LAG_SECONDS", value)
    with pytest.raises(ImproperlyConfigured, match="READYZ_MAX_LAG_SECONDS"):
        Environment.read(tmp_path)
