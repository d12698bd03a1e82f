"""At most one open request for each person. Each person has a stream for their reservation.

The stream is named by a keyed hash of the national ID, so that its name does not identify anyone.
`loans/domain/reservation.py` explains why the rule holds when processes die, pause, or run at the
same time.
"""

from __future__ import annotations

import contextlib
import logging
import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final
from uuid import UUID, uuid5

from lepret.common.aside import Do, at_once
from lepret.common.keyed_hashes import keyed_hash
from loans.adapters import codec
from loans.adapters.codec import StreamId
from loans.adapters.event_store import (
    EventStore,
    EventStoreUnavailable,
    StaleRevision,
    Stream,
    StreamGone,
)
from loans.application.handling import handle
from loans.domain import loan_request
from loans.domain.commands import LapseApplication
from loans.domain.events import LoanEvent, ReservationEvent
from loans.domain.policy import VERSION_0
from loans.domain.reservation import (
    HeldByAnother,
    Hold,
    OpenRequestExists,
    ReleaseReservation,
    ReservationIsGone,
    TakeReservation,
    decide,
    fold,
)

logger = logging.getLogger(__name__)

RESERVATIONS: Final = "reservations"

ReservationStreamId = StreamId[ReservationEvent]


@dataclass(frozen=True)
class Held:
    """A reservation that a request has taken, and the person's stream as the take left it."""

    hold: Hold
    stream_id: ReservationStreamId
    stream: Stream[ReservationEvent]


class Reservations:
    """The reservations in an event store.

    A reservation lapses if its request is not recorded within `lapse_after`: the process that was
    about to record it has probably died. The event store's clock counts, and no other: it has
    recorded when the reservation was taken.

    `aside` does what nobody has to wait for.
    """

    def __init__(
        self,
        event_store: EventStore,
        *,
        key: bytes,
        lapse_after: timedelta,
        aside: Do = at_once,
    ) -> None:
        self._event_store = event_store
        self._key = key
        self._lapse_after = lapse_after
        self._aside = aside

    def take(
        self,
        command: TakeReservation,
        *,
        national_id: str,
        assumed: Stream[ReservationEvent] | None = None,
    ) -> Held:
        """Take the person's reservation for a request.

        A request that holds it, but no longer needs it, loses it. `assumed` is what `assume_new`
        has answered about the person's stream, if it was asked before.

        Raises:
            OpenRequestExists: the person has a request that is not decided, or not recorded yet.
            ReservationIsGone: nobody can tell, since an operator has deleted the stream.
            EventStoreUnavailable, StaleRevision: as `handle`.
        """
        stream_id = self.stream_of(national_id)
        try:
            # Most people have no reservation stream yet; the append fails if there is one.
            stream = self._event_store.assume_new(stream_id) if assumed is None else assumed
            return self._take_in(stream_id, command, stream)
        except StreamGone:
            stream_id, stream = self._in_use(national_id)
            if stream.revision is None:
                # Without its name, which stands for a person.
                logger.error("Refused an application: its applicant's reservation is gone")
                raise ReservationIsGone from None
            return self._take_in(stream_id, command, stream)

    def give_back(self, held: Held, *, now: datetime) -> None:
        """Release what `take` has taken, if it is still held, now or in a moment.

        If that fails, a worker does it, or the next request of the same person.
        """

        def release() -> None:
            with contextlib.suppress(EventStoreUnavailable, StaleRevision, StreamGone):
                self._release(held.hold, held.stream_id, held.stream, now=now)

        self._aside(release)

    def release(
        self, loan_request_id: UUID, *, ended_at: int, national_id: str, now: datetime
    ) -> None:
        """Release the reservation of a request that is decided, if it holds one.

        `ended_at` is the revision of the request's stream at which it was seen to be decided. What
        the request has taken since then is needed.

        Raises:
            EventStoreUnavailable, StaleRevision, StreamGone: as `handle`.
        """
        stream_id, stream = self._in_use(national_id)
        hold = fold(stream.events)
        if hold is None or hold.id != loan_request_id:
            return
        if hold.covers is None or hold.covers < ended_at:
            self._release(hold, stream_id, stream, now=now)

    def restore(self, gone: ReservationStreamId, last: ReservationEvent) -> None:
        """Go on in another stream with the last event of one that is gone. Once is enough.

        Raises:
            EventStoreUnavailable: not restored; doing it again is safe.
        """
        # If it was restored before, it has gone on since.
        with contextlib.suppress(StaleRevision):
            self._event_store.append(
                self._successor_of(gone),
                [last],
                revision=None,
                command_id=uuid5(last.id, gone.name),
                user=RESERVATIONS,
            )

    def settle(self, stream_id: ReservationStreamId, *, now: datetime) -> float:
        """Release a reservation whose request is decided, or was not recorded in time.

        Returns the seconds after which to do it again: 0 if nothing is left to do, infinite while
        the request is open.

        Raises:
            EventStoreUnavailable, StaleRevision, StreamGone: as `handle`.
        """
        stream = self._event_store.load(stream_id)
        hold = fold(stream.events)
        if hold is None:
            return 0.0
        seconds = self._seconds_needed(hold, stream, now=now)
        if not seconds:
            self._release(hold, stream_id, stream, now=now)
        return seconds

    def seconds_left(self, taken_at: datetime) -> float:
        """In how many seconds a reservation lapses that was recorded at `taken_at`; 0 if it may.

        Raises:
            EventStoreUnavailable: no answer in time.
        """
        held = self._event_store.now() - taken_at
        # Taken far in the future: the store's clock was put back. To lapse early costs a retry.
        if abs(held) >= self._lapse_after:
            return 0.0
        return min(self._lapse_after, self._lapse_after - held).total_seconds()

    def stream_of(self, national_id: str) -> ReservationStreamId:
        """A person's stream; the case of the national ID's letters does not matter."""
        return self._stream_named_by(national_id.lower())

    def is_gone(self, stream_id: ReservationStreamId) -> bool:
        """Whether nothing is left of a reservation's stream.

        Raises:
            EventStoreUnavailable: no answer in time.
        """
        try:
            self._event_store.load(stream_id)
        except StreamGone:
            return True
        return False

    def _successor_of(self, gone: ReservationStreamId) -> ReservationStreamId:
        """The stream in which a reservation goes on when its own is gone."""
        return self._stream_named_by(gone.name)

    def _stream_named_by(self, text: str) -> ReservationStreamId:
        name = keyed_hash(self._key, RESERVATIONS, text).hex()
        return codec.reservation_stream(f"{codec.RESERVATION_PREFIX}{name}")

    def _in_use(self, national_id: str) -> tuple[ReservationStreamId, Stream[ReservationEvent]]:
        """The person's stream, or the one in which their reservation has gone on or will."""
        stream_id = self.stream_of(national_id)
        while True:
            try:
                return stream_id, self._event_store.load(stream_id)
            except StreamGone:
                stream_id = self._successor_of(stream_id)

    def _take_in(
        self,
        stream_id: ReservationStreamId,
        command: TakeReservation,
        loaded: Stream[ReservationEvent],
    ) -> Held:
        stream = handle(
            self._event_store,
            stream_id,
            partial(self._take, command),
            command=command,
            user=RESERVATIONS,
            loaded=loaded,
        )
        return Held(Hold(command.id, command.covers), stream_id, stream)

    def _take(
        self, command: TakeReservation, stream: Stream[ReservationEvent]
    ) -> list[ReservationEvent]:
        hold = fold(stream.events)
        try:
            return decide(command, hold)
        except HeldByAnother as other:
            if self._seconds_needed(other.hold, stream, now=command.issued_at):
                raise OpenRequestExists from None
            return decide(command.model_copy(update={"instead_of": other.hold.id}), hold)

    def _release(
        self,
        hold: Hold,
        stream_id: ReservationStreamId,
        loaded: Stream[ReservationEvent],
        *,
        now: datetime,
    ) -> None:
        release = ReleaseReservation(id=hold.id, covers=hold.covers, issued_at=now)
        handle(
            self._event_store,
            stream_id,
            lambda stream: decide(release, fold(stream.events)),
            command=release,
            user=RESERVATIONS,
            loaded=loaded,
        )

    def _seconds_needed(
        self, hold: Hold, reservation: Stream[ReservationEvent], *, now: datetime
    ) -> float:
        """For how long a request needs its hold: infinite while it is open, 0 once it is over.

        If it was not recorded in time, this appends `ApplicationLapsed`, so that it cannot be.
        """
        taken_at = reservation.recorded[-1].recorded_at
        assert taken_at is not None, "a hold by another was loaded, not appended"
        lapse = LapseApplication(id=hold.id, revision=hold.covers, issued_at=now)
        seconds = 0.0

        def decide_to_lapse(stream: Stream[LoanEvent]) -> list[LoanEvent]:
            nonlocal seconds
            is_recorded_or_closed = stream.revision != hold.covers
            # Asked once: the store's clock may be found to be behind what it was a moment ago.
            seconds = 0.0 if is_recorded_or_closed else self.seconds_left(taken_at)
            if is_recorded_or_closed or seconds:
                return []
            # No policy has a say in it.
            return loan_request.decide(lapse, loan_request.fold(stream.events), VERSION_0)

        stream_id = codec.loan_request_stream(hold.id)
        try:
            stream = handle(
                self._event_store, stream_id, decide_to_lapse, command=lapse, user=RESERVATIONS
            )
        except StreamGone:
            return 0.0
        state = loan_request.fold(stream.events)
        if state.application is None:
            return seconds
        return 0.0 if state.decision is not None else math.inf
