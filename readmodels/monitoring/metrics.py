"""`/metrics`: the status of the projections, the queue, and what this process measures.

For Prometheus.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Final

from django.http import HttpRequest, HttpResponse, HttpResponseForbidden
from django.views.decorators.http import require_safe
from prometheus_client import REGISTRY, Gauge
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from lepret.common.insiders import is_insider
from readmodels.live import (
    frame_latency,  # noqa: F401 (its histogram is in the registry)
    slow_reads,
)
from readmodels.live.positions import hints
from readmodels.monitoring.lag import MOST_COUNTED
from readmodels.monitoring.queue_metrics import QueueCollector
from readmodels.monitoring.shared_reader import SharedReader
from readmodels.monitoring.status import ProjectionStatus, State, read_statuses

logger = logging.getLogger(__name__)

READ_SECONDS: Final = 4.0

_FOR_INSIDERS: Final = (
    "For callers with MONITORING_TOKEN, or from MONITORING_NETWORKS: see docs/operations.md.\n"
)

Figure = Callable[[ProjectionStatus], float | None]


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """All metrics, in the format that the client asks for; for insiders."""
    if not is_insider(request):
        return HttpResponseForbidden(_FOR_INSIDERS, content_type="text/plain; charset=utf-8")
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    return HttpResponse(encode(REGISTRY), content_type=content_type)


class ProjectionsCollector(Collector):
    """Reads the status of the projections, once for each scrape.

    Figures that are not known at the moment are left out, and `lepret_projections_up` is then 0.
    """

    def __init__(self) -> None:
        self._reader = SharedReader(partial(read_statuses, count_up_to=MOST_COUNTED))

    def describe(self) -> Iterable[Metric]:
        """Nothing. Without this method, registering the collector would call `collect`."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The metrics of one scrape."""
        statuses = self._read()
        is_up = bool(statuses) and all(each.store_position is not None for each in statuses)
        yield _up(is_up)
        if statuses:
            for name, words, figure in _GAUGES:
                yield _fill(GaugeMetricFamily(name, words, labels=["name"]), statuses, figure)
            yield _fill(_events_total(), statuses, lambda each: each.events)
        if (times := slow_reads.count()) is not None:
            yield _dropped_total(times)

    def _read(self) -> list[ProjectionStatus]:
        try:
            return list(self._reader.read(timeout=READ_SECONDS).values())
        except Exception as error:  # noqa: BLE001 (a scrape is answered, whatever is away)
            logger.warning("The metrics of projections are unknown (%s)", type(error).__qualname__)
            return []


def _up(is_up: bool) -> Metric:
    words = "Whether the event store and the database of the read models answer."
    return GaugeMetricFamily("lepret_projections_up", words, value=is_up)


def _events_total() -> CounterMetricFamily:
    words = "Events applied since the table was empty."
    return CounterMetricFamily("lepret_projection_events", words, labels=["name"])


def _dropped_total(times: int) -> CounterMetricFamily:
    words = "Subscriptions of projectors that the event store dropped as too slow."
    return CounterMetricFamily("lepret_subscriptions_too_slow", words, value=times)


def _fill(
    family: GaugeMetricFamily | CounterMetricFamily,
    statuses: Iterable[ProjectionStatus],
    figure: Figure,
) -> Metric:
    for each in statuses:
        value = figure(each)
        if value is not None:
            family.add_metric([each.name], value)
    return family


_GAUGES: Final[tuple[tuple[str, str, Figure], ...]] = (
    (
        "lepret_projection_position",
        "Commit position of the last event applied.",
        lambda each: each.position,
    ),
    (
        "lepret_projection_store_position",
        "Commit position of the last event in the event store.",
        lambda each: each.store_position,
    ),
    (
        "lepret_projection_lag_seconds",
        "Age of the oldest event that is still to be applied.",
        lambda each: each.lag.seconds if each.lag else None,
    ),
    (
        "lepret_projection_lag_events",
        f"Events still to be applied; counted up to {MOST_COUNTED}.",
        lambda each: each.lag.events if each.lag else None,
    ),
    (
        "lepret_projection_stopped",
        "1 where the projection stands still: before an event, or after the store was replaced.",
        lambda each: each.state in (State.STOPPED, State.STORE_REPLACED),
    ),
    (
        "lepret_projection_waiting",
        "1 where the projection waits for a projector of a newer version.",
        lambda each: each.waiting is not None,
    ),
    (
        "lepret_projection_rebuilding",
        "1 where a table is being built beside the live one.",
        lambda each: each.rebuild is not None,
    ),
    (
        "lepret_projection_version",
        "Version that built the rows.",
        lambda each: each.version,
    ),
    (
        "lepret_projection_events_per_second",
        "How fast events are being applied now.",
        lambda each: each.events_per_second,
    ),
)

REGISTRY.register(ProjectionsCollector())
REGISTRY.register(QueueCollector())
Gauge(
    "lepret_waiting_requests", "Requests that wait here for a projection to reach a position."
).set_function(lambda: hints.waiting)
