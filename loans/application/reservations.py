"""One open request for each person, held by the event store: a stream for each reservation.

The stream is named by a keyed hash of the national ID, so that its name gives nobody away.
`loans/domain/reservation.py` tells how it stays true when processes die, stand still, or come at
the same moment.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from lepret.common.keyed_hashes import keyed_hash
from loans.adapters import codec
from loans.adapters.codec import StreamId
from loans.adapters.event_store import EventStore, StaleRevision, Stream
from loans.application.retries import until_not_stale
from loans.domain import loan_request
from loans.domain.commands import LapseApplication
from loans.domain.events import ReservationEvent
from loans.domain.reservation import (
    HeldByAnother,
    Hold,
    OpenRequestExists,
    ReleaseReservation,
    ReservationCommand,
    TakeReservation,
    decide,
    fold,
)

RESERVATIONS: Final = "reservations"

ReservationStream = StreamId[ReservationEvent]


class Reservations:
    """The reservations in an event store.

    What was taken `lapse_after` ago for a request that has still not been recorded is given up:
    whoever was about to record it is taken for dead.
    """

    def __init__(self, event_store: EventStore, *, key: bytes, lapse_after: timedelta) -> None:
        self._event_store = event_store
        self._key = key
        self._lapse_after = lapse_after

    def take(self, command: TakeReservation, *, national_id: str) -> None:
        """Reserve for a request, in place of one that needs its reservation no longer.

        Raises:
            OpenRequestExists: the person has a request that is not decided, or just being made.
            EventStoreUnavailable, StaleRevision: as `EventStore.append`.
        """
        stream_id = self.stream_of(national_id)

        def take(stream: Stream[ReservationEvent]) -> None:
            self._carry_out(self._taking(command, stream), stream_id, stream)

        # Most people have none. Whether that is so, the append itself finds out.
        until_not_stale(take, stream_id, self._event_store, known=Stream())

    def release(self, loan_request_id: UUID, *, national_id: str, now: datetime) -> None:
        """Give back what a request holds that is known to be decided; harmless if it holds nothing.

        Raises:
            EventStoreUnavailable, StaleRevision: as `EventStore.append`.
        """
        stream_id = self.stream_of(national_id)

        def release(stream: Stream[ReservationEvent]) -> None:
            hold = fold(stream.events)
            if hold is not None and hold.id == loan_request_id:
                self._release(hold, stream_id, stream, now=now)

        until_not_stale(release, stream_id, self._event_store)

    def settle(self, stream_id: ReservationStream, *, now: datetime) -> None:
        """Release what a request holds that is decided, or that was never recorded.

        Raises:
            EventStoreUnavailable, StaleRevision: as `EventStore.append`.
        """

        def settle(stream: Stream[ReservationEvent]) -> None:
            hold = fold(stream.events)
            if hold is not None and self._is_over(hold, now=now):
                self._release(hold, stream_id, stream, now=now)

        until_not_stale(settle, stream_id, self._event_store)

    def stream_of(self, national_id: str) -> ReservationStream:
        """A person's stream; the case of the national ID's letters does not matter."""
        name = keyed_hash(self._key, RESERVATIONS, national_id.lower()).hex()
        return codec.reservation_stream(f"{codec.RESERVATION_PREFIX}{name}")

    def _taking(
        self, command: TakeReservation, stream: Stream[ReservationEvent]
    ) -> TakeReservation:
        try:
            decide(command, fold(stream.events))
        except HeldByAnother as other:
            if not self._is_over(other.hold, now=command.issued_at):
                raise OpenRequestExists from None
            return command.model_copy(update={"instead_of": other.hold.id})
        return command

    def _release(
        self,
        hold: Hold,
        stream_id: ReservationStream,
        stream: Stream[ReservationEvent],
        *,
        now: datetime,
    ) -> None:
        release = ReleaseReservation(id=hold.id, covers=hold.covers, issued_at=now)
        self._carry_out(release, stream_id, stream)

    def _carry_out(
        self,
        command: ReservationCommand,
        stream_id: ReservationStream,
        stream: Stream[ReservationEvent],
    ) -> None:
        events = decide(command, fold(stream.events))
        if events:
            self._event_store.append(
                stream_id,
                events,
                revision=stream.revision,
                command_id=command.command_id,
                user=RESERVATIONS,
            )

    def _is_over(self, hold: Hold, *, now: datetime) -> bool:
        """Whether the request that holds a reservation has no need of it any more."""
        stream_id = codec.loan_request_stream(hold.id)
        stream = self._event_store.load(stream_id)
        state = loan_request.fold(stream.events)
        if state.application is not None:
            return state.decision is not None
        if stream.revision != hold.covers:
            return True
        if now - hold.since < self._lapse_after:
            return False
        return self._closes_off(hold, now=now)

    def _closes_off(self, hold: Hold, *, now: datetime) -> bool:
        """Whether the request was kept from being recorded; not, if it was at this moment."""
        lapse = LapseApplication(id=hold.id, revision=hold.covers, issued_at=now)
        try:
            self._event_store.append(
                codec.loan_request_stream(hold.id),
                loan_request.decide(lapse, loan_request.INITIAL),
                revision=hold.covers,
                command_id=lapse.command_id,
                user=RESERVATIONS,
            )
        except StaleRevision:
            # Recorded, or closed off by someone else: to be looked at anew.
            return self._is_over(hold, now=now)
        return True
