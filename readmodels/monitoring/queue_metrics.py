"""What `/metrics` says of the requests that wait for underwriters."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any, Final

from django.db.models import Count, Min, Q
from django.utils import timezone
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from readmodels.clocks import LEGAL_TERM, ends_soon_since
from readmodels.models import PendingRequest
from readmodels.monitoring.shared_reader import SharedReader
from readmodels.policies import policy_in_force

logger = logging.getLogger(__name__)

READ_SECONDS: Final = 4.0

_IN_WORDS: Final = {
    "lepret_requests_under_review": "Loan requests that wait for an underwriter.",
    "lepret_requests_claimed": "Loan requests that an underwriter works on.",
    "lepret_requests_overdue": "Undecided loan requests, later than the lending policy promises.",
    "lepret_notices_due": "Undecided loan requests whose 30 days, within which the law wants "
    "applicants to be told, are over or a quarter from it.",
    "lepret_requests_past_legal_term": "Undecided loan requests whose 30 days are over.",
    "lepret_oldest_request_age_seconds": "How long the oldest undecided loan request has been "
    "complete; 0 if none waits.",
}


class QueueCollector(Collector):
    """Counts the requests that wait, in two queries for each scrape.

    While the database is away they are left out, and `lepret_projections_up` is 0.
    """

    def __init__(self) -> None:
        self._reader = SharedReader(_read)

    def describe(self) -> Iterable[Metric]:
        """Nothing. Without this method, registering the collector would call `collect`."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The metrics of one scrape."""
        try:
            figures = self._reader.read(timeout=READ_SECONDS)
        except Exception as error:  # noqa: BLE001 (a scrape is answered, whatever is away)
            logger.warning("The metrics of the queue are unknown (%s)", type(error).__qualname__)
            return
        for name, words in _IN_WORDS.items():
            yield GaugeMetricFamily(name, words, value=figures[name])


def _read() -> dict[str, float]:
    now = timezone.now()
    decide_within = policy_in_force(now).policy.decide_within
    found = PendingRequest.objects.waiting().aggregate(
        lepret_requests_under_review=Count("pk"),
        lepret_requests_claimed=Count("pk", filter=Q(claimed_until__gt=now)),
        lepret_requests_overdue=_complete_by(now - decide_within),
        lepret_notices_due=_complete_by(ends_soon_since(now, LEGAL_TERM)),
        lepret_requests_past_legal_term=_complete_by(now - LEGAL_TERM),
        oldest=Min("requested_at"),
    )
    age = now - (found.pop("oldest") or now)
    # The clock of whoever recorded it may be ahead.
    return {**found, "lepret_oldest_request_age_seconds": max(age, timedelta()).total_seconds()}


def _complete_by(moment: datetime) -> Any:
    return Count("pk", filter=Q(requested_at__lte=moment))
