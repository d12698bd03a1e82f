"""Deciding again where someone else was quicker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

import stamina

from loans.adapters.codec import E, StreamId
from loans.adapters.event_store import EventStore, StaleRevision, Stream

T = TypeVar("T")

ATTEMPTS: Final = 5


def until_not_stale(
    decide_and_append: Callable[[Stream[E]], T],
    stream_id: StreamId[E],
    event_store: EventStore,
    *,
    known: Stream[E] | None = None,
) -> T:
    """Do it on the stream as it is, and as long as others are quicker again on what it then is.

    The first time on what is `known` of the stream, if anything is.

    Raises:
        StaleRevision: others were quicker, `ATTEMPTS` times in a row.
        EventStoreUnavailable: no answer in time.
    """
    for attempt in stamina.retry_context(
        on=StaleRevision,
        attempts=ATTEMPTS,
        timeout=None,
        wait_initial=0.005,
        wait_max=0.1,
        wait_jitter=0.02,
    ):
        with attempt:
            if known is not None and attempt.num == 1:
                return decide_and_append(known)
            return decide_and_append(event_store.load(stream_id))
    raise AssertionError("retry_context either returns or raises")
