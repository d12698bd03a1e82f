"""Applies for a loan, for the form and the API together: within limits, and then the use case.

Nobody proves here who they are. The limits are for those who try the national IDs of others, to
learn who has an open request, or to keep somebody out by applying in their name.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Final

from django.conf import settings

from lepret.common.cache_pool import Mark
from lepret.common.callers import network_of
from lepret.common.rate_limits import COUNTERS, Counted, RateLimits, Window
from loans.adapters.event_store import EventStoreUnavailable, StaleRevision
from loans.application import use_cases
from loans.application.pace import Application
from loans.application.use_cases import Answer
from loans.dependencies import credit_bureau, event_store, policies, reservations
from loans.domain.commands import RequestLoan

logger = logging.getLogger(__name__)

UNAVAILABLE: Final = (EventStoreUnavailable, StaleRevision)
# For how long an application can be sent again without being counted again.
_REPEATED_WITHIN_SECONDS: Final = 24 * 60 * 60

_limits: Final = RateLimits(COUNTERS)


class TooManyApplications(Exception):
    """An address or a national ID is at its limit. `retry_after`: seconds until the next window."""

    def __init__(self, retry_after: float) -> None:
        super().__init__("There were too many applications from here, or for this national ID.")
        self.retry_after = retry_after


def request_loan(
    command: RequestLoan,
    *,
    address: str | None,
    application: Application,
    is_new_id: bool = False,
) -> Answer:
    """Carry out `command`, unless there were too many.

    `address` is the caller's; `None` for a caller with a token, whose calls are counted by user.
    An application that is sent again, while it is carried out or after it was accepted, is not
    counted again, nor is one that could not be recorded.

    Raises:
        TooManyApplications: of this address, or for this national ID.
        Whatever the use case raises.
    """
    sent = Mark(
        _limits.key("application", command.model_dump_json(exclude={"issued_at"})),
        _REPEATED_WITHIN_SECONDS,
    )
    counted = _count(_windows(command, address), unless=sent)
    try:
        answer = use_cases.request_loan(
            command,
            event_store=event_store(),
            credit_bureau=credit_bureau(),
            reservations=reservations(),
            policies=policies(),
            is_new_id=is_new_id,
        )
    except BaseException as error:
        # What was refused is counted each time: who has an open request must not be tried out.
        if counted:
            COUNTERS.unmark(sent)
        if isinstance(error, UNAVAILABLE):
            _take_back(counted)
        raise
    application.is_new = answer.is_new
    return answer


def _windows(command: RequestLoan, address: str | None) -> dict[str, Window]:
    """Where the application is counted, by the words for the log."""
    windows = {}
    # First the address: whoever is at its limit must not use up the limits of other people.
    if address is not None and settings.APPLICATIONS_PER_ADDRESS is not None:
        network = network_of(address)
        rate = settings.APPLICATIONS_PER_ADDRESS
        windows[f"from {network}"] = _limits.window("applications-from", network, rate)
    if settings.APPLICATIONS_PER_NATIONAL_ID is not None:
        rate = settings.APPLICATIONS_PER_NATIONAL_ID
        which = f"for one national ID, the last one from {address or 'a token'}"
        windows[which] = _limits.window("applications-for", command.national_id, rate)
    return windows


def _count(windows: Mapping[str, Window], *, unless: Mark) -> list[Counted]:
    counted = _limits.count(*windows.values(), unless=unless)
    if counted and not counted[-1].is_allowed:
        raise _refusal(counted[-1], list(windows)[len(counted) - 1])
    return counted


def _take_back(counted: Iterable[Counted]) -> None:
    for each in counted:
        COUNTERS.decrement(each.key)


def _refusal(counted: Counted, which: str) -> TooManyApplications:
    if counted.is_first_refusal:
        rate = counted.rate
        logger.warning("More than %d applications in %d s %s", rate.calls, rate.seconds, which)
    return TooManyApplications(counted.wait)
