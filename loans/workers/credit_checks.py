"""Scores requests that were accepted without a credit score."""

from __future__ import annotations

import logging
from typing import Final

from django.utils import timezone
from esdbclient import RecordedEvent

from loans.adapters import codec
from loans.adapters.credit_bureau import CreditBureau, CreditBureauUnavailable
from loans.adapters.event_store import EventStore
from loans.application import use_cases
from loans.application.policies import Policies
from loans.domain.events import LoanRequested
from loans.workers.groups import Group
from loans.workers.worker import TryAgain

logger = logging.getLogger(__name__)

CREDIT_CHECKS: Final = Group("credit-checks", (LoanRequested.__name__,), codec.is_left_to_workers)


class CreditChecks:
    """A `Handler` of `LoanRequested`. It passes over requests that have a score."""

    def __init__(
        self, *, event_store: EventStore, credit_bureau: CreditBureau, policies: Policies
    ) -> None:
        self._event_store = event_store
        self._credit_bureau = credit_bureau
        self._policies = policies

    def handle(self, event: RecordedEvent) -> None:
        """Score the request, if it has no score yet."""
        try:
            use_cases.check_credit(
                codec.loan_request_id(event.stream_name),
                clock=timezone.now,
                event_store=self._event_store,
                credit_bureau=self._credit_bureau,
                policies=self._policies,
            )
        except CreditBureauUnavailable as error:
            raise TryAgain(error.reason, after=error.retry_after or 0.0) from None

    def give_up(self, event: RecordedEvent, *, reason: str, attempts: int) -> None:
        """Record in the request's stream that its credit check is parked, and why."""
        loan_request_id = codec.loan_request_id(event.stream_name)
        use_cases.park_credit_check(
            loan_request_id,
            reason=reason,
            attempts=attempts,
            now=timezone.now(),
            event_store=self._event_store,
        )
        logger.error("Parked the credit check of %s (%s)", loan_request_id, reason)
