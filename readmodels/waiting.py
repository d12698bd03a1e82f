"""Waits, bounded, for a read model that is a moment behind what was just recorded."""

from __future__ import annotations

import time
from typing import Final
from uuid import UUID

from django.conf import settings

from readmodels.event_history import is_recorded
from readmodels.models import LoanStatus, Status

_LOOK_EVERY_SECONDS: Final = 0.02


class UnknownLoanRequest(Exception):
    """Neither the read model nor the event store knows the request."""


def status_when_known(loan_request_id: UUID) -> Status:
    """How a request stands. Waits for the read model only if the event store has the request.

    A request that is recorded but not in the read model by the end of the wait is *received*.

    Raises:
        UnknownLoanRequest: there is no such request.
        HistoryUnavailable: the event store did not answer in time.
    """
    known = LoanStatus.objects.of(loan_request_id)
    if known is None and not is_recorded(loan_request_id):
        raise UnknownLoanRequest
    give_up_at = time.monotonic() + settings.READ_MODEL_WAIT_SECONDS
    while known is None and time.monotonic() < give_up_at:
        time.sleep(_LOOK_EVERY_SECONDS)
        known = LoanStatus.objects.of(loan_request_id)
    return Status(known.status) if known else Status.RECEIVED
