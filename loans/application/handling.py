"""How every command is handled: load a stream, decide, append, and retry if others were faster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

import stamina

from loans.adapters.codec import E, StreamId
from loans.adapters.event_store import EventStore, StaleRevision, Stream
from loans.domain.commands import Command

# Each time, somebody else has come through: so all do, of this many at a stream at once.
ATTEMPTS: Final = 20


def handle(
    event_store: EventStore,
    stream_id: StreamId[E],
    decide: Callable[[Stream[E]], Sequence[E]],
    *,
    command: Command,
    user: str,
    loaded: Stream[E] | None = None,
) -> Stream[E]:
    """Append the events that `decide` returns for a stream; returns the stream with them.

    No events mean that the command was carried out before. Then the stream is returned as the
    command left it, so that a command that is sent again gets the same answer.

    The append expects the revision that `decide` saw. If another writer was faster, `decide` is
    retried on a fresh load. The first attempt uses `loaded`, if given.

    Raises:
        StaleRevision: other writers were faster, `ATTEMPTS` times in a row.
        StreamGone: the stream was deleted or truncated.
        EventStoreUnavailable: no answer in time.
    """

    def carry_out(stream: Stream[E]) -> Stream[E]:
        events = decide(stream)
        if not events:
            return stream.as_left_by(command.command_id)
        position = event_store.append(
            stream_id,
            events,
            revision=stream.revision,
            command_id=command.command_id,
            user=user,
        )
        return stream.with_appended(events, command.command_id, position)

    # Hardly ever is another writer faster, and what waits and counts attempts takes its time, too.
    with suppress(StaleRevision):
        return carry_out(event_store.load(stream_id) if loaded is None else loaded)
    for attempt in stamina.retry_context(
        on=StaleRevision,
        attempts=ATTEMPTS - 1,
        timeout=None,
        wait_initial=0.005,
        wait_max=0.1,
        wait_jitter=0.02,
    ):
        with attempt:
            return carry_out(event_store.load(stream_id))
    raise AssertionError("retry_context either returns or raises")
