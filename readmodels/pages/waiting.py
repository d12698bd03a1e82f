"""Waits for a limited time until a read model has what was just recorded."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Final
from uuid import UUID

from django.conf import settings

from readmodels.live.positions import has_reached, hints
from readmodels.models import LoanStatus, Status
from readmodels.pages.event_history import HistoryGone, is_recorded
from readmodels.projections import Projection, loan_status

# The highest commit position that a checkpoint's column can hold.
LAST_POSITION: Final = 2**63 - 1


class NotRecorded(Exception):
    """Neither the read model nor the event store has the request."""


@dataclass(frozen=True)
class KnownStatus:
    """The status of a request; `loan` is `None` if the read model does not have it yet.

    `is_up_to_date` is false if the read model did not reach the position in time. `is_gone`: the
    request's events were deleted or truncated, so that nobody can tell how it stands.
    """

    loan: LoanStatus | None
    is_up_to_date: bool
    is_gone: bool = False

    @property
    def status(self) -> Status:
        """*Received*, if the request is recorded but not in the read model yet."""
        return Status(self.loan.status) if self.loan else Status.RECEIVED


def status_now(loan_request_id: UUID) -> KnownStatus:
    """The status of a request in the read model as it is now, without waiting.

    Raises:
        NotRecorded: there is no such request.
        HistoryUnavailable: the event store did not answer in time.
    """
    loan = LoanStatus.objects.of(loan_request_id)
    if loan is not None:
        return _known(loan)
    try:
        if not is_recorded(loan_request_id):
            raise NotRecorded
    except HistoryGone:
        return KnownStatus(None, is_up_to_date=True, is_gone=True)
    return KnownStatus(None, is_up_to_date=False)


def status_when_known(loan_request_id: UUID, *, after: int | None = None) -> KnownStatus:
    """The status of a request once the read model has reached the position `after`, if given.

    Waits at most `READ_MODEL_WAIT_SECONDS`, and only for requests that exist.

    Raises:
        NotRecorded: there is no such request.
        HistoryUnavailable: the event store did not answer in time.
    """
    is_reached = after is None or has_reached(loan_status.PROJECTION.name, after)
    now = status_now(loan_request_id)
    if now.is_gone or (is_reached and now.is_up_to_date):
        return now
    return _wait_for_status(loan_request_id, after or 0)


def _known(loan: LoanStatus) -> KnownStatus:
    return KnownStatus(loan, is_up_to_date=True, is_gone=loan.gone_at is not None)


def _wait_for_status(loan_request_id: UUID, after: int) -> KnownStatus:
    name = loan_status.PROJECTION.name

    def look() -> LoanStatus | None:
        return LoanStatus.objects.of(loan_request_id) if has_reached(name, after) else None

    loan = hints.wait_until(
        look, name=name, position=after, seconds=settings.READ_MODEL_WAIT_SECONDS
    )
    if loan is not None:
        return _known(loan)
    return KnownStatus(LoanStatus.objects.of(loan_request_id), is_up_to_date=False)


def is_level_with(projection: Projection, after: int | None) -> bool:
    """Wait until a projection has reached `after`, if given; returns whether it has."""
    if after is None:
        return True
    name, seconds = projection.name, settings.READ_MODEL_WAIT_SECONDS
    look = partial(has_reached, name, after)
    return bool(hints.wait_until(look, name=name, position=after, seconds=seconds))


def position_in(text: str) -> int | None:
    """The commit position in `text`, or `None` if there is no valid one."""
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(LAST_POSITION))):
        return None
    position = int(text)
    return position if position <= LAST_POSITION else None
