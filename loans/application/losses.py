"""Records that the stream of a loan request is gone, for those who cannot look: the read models.

An operator can delete or truncate a stream, which no projection learns from events alone: what is
left depends on all events of the stream, on its metadata, and on the time. So whoever finds that a
request's stream is not whole records that, as an event in another stream.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID, uuid5

from loans.adapters import codec
from loans.adapters.event_store import (
    EventStore,
    EventStoreUnavailable,
    StaleRevision,
    Stream,
    StreamGone,
)
from loans.application.handling import handle
from loans.domain.commands import Command
from loans.domain.events import LoanRequestBack, LoanRequestGone, LossEvent
from loans.domain.loan_request import LoanRequestIsGone

LOSSES: Final = "losses"


class NoteLoss(Command):
    """Record whether the stream of the request `id` is gone."""

    @property
    def command_id(self) -> UUID:
        # What is lost, found and lost again is two losses.
        return uuid5(self.id, f"{type(self).__name__}\n{self.issued_at.isoformat()}")


@contextlib.contextmanager
def noting_loss(loan_request_id: UUID, *, event_store: EventStore, now: datetime) -> Iterator[None]:
    """Reject what is asked of a request whose stream turns out to be gone, and record that.

    Raises:
        LoanRequestIsGone: in place of `StreamGone`.
    """
    try:
        yield
    except StreamGone:
        # If it cannot be recorded now, the next one to ask does so.
        with contextlib.suppress(EventStoreUnavailable, StaleRevision):
            note_loss(loan_request_id, event_store=event_store, now=now)
        raise LoanRequestIsGone from None


def note_loss(loan_request_id: UUID, *, event_store: EventStore, now: datetime) -> bool:
    """Record whether the stream of a request is gone, if that is news; returns whether it is.

    Raises:
        EventStoreUnavailable, StaleRevision: not recorded; doing it again is safe.
    """
    command = NoteLoss(id=loan_request_id, issued_at=now)
    stream_id = codec.loss_stream(loan_request_id)

    # After that stream is loaded: what others found meanwhile, they found later.
    def decide(stream: Stream[LossEvent]) -> Sequence[LossEvent]:
        was_gone = bool(stream.events) and isinstance(stream.events[-1], LoanRequestGone)
        is_gone = _is_gone(loan_request_id, event_store)
        if is_gone == was_gone:
            return []
        event = LoanRequestGone if is_gone else LoanRequestBack
        return [event(id=command.id, occurred_at=command.issued_at)]

    try:
        stream = handle(event_store, stream_id, decide, command=command, user=LOSSES)
    except StreamGone:  # Somebody has deleted this record, too.
        return True
    return bool(stream.events) and isinstance(stream.events[-1], LoanRequestGone)


def _is_gone(loan_request_id: UUID, event_store: EventStore) -> bool:
    try:
        event_store.load(codec.loan_request_stream(loan_request_id))
    except StreamGone:
        return True
    return False
