"""The decider of a reservation. Each person has one, and so at most one open request.

A request takes its applicant's reservation before it is recorded, and releases it once it is
decided. No append spans two streams. So the reservation names the revision of the request's stream
that it covers: the request may be recorded on that revision only. If the request was never
recorded, an event is appended to its stream before the reservation is released. A process that is
late to record the request can then no longer append on the old revision.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from typing import assert_never
from uuid import UUID, uuid5

from loans.domain.commands import Command
from loans.domain.events import ReservationEvent, ReservationReleased, ReservationTaken
from loans.domain.fields import Revision
from loans.domain.loan_request import Rejection


class TakeReservation(Command):
    """Take the reservation for the request `id`, to be recorded on the revision `covers`.

    `instead_of` is a request that holds the reservation, but no longer needs it.
    """

    covers: Revision | None
    instead_of: UUID | None = None

    @property
    def command_id(self) -> UUID:
        return uuid5(self.id, f"{type(self).__name__}\n{self.covers}")


class ReleaseReservation(Command):
    """Release the reservation that the request `id` took for the revision `covers`."""

    covers: Revision | None

    @property
    def command_id(self) -> UUID:
        return uuid5(self.id, f"{type(self).__name__}\n{self.covers}")


ReservationCommand = TakeReservation | ReleaseReservation


@dataclass(frozen=True, slots=True)
class Hold:
    """The request that holds a reservation, and for which revision of its stream."""

    id: UUID
    covers: int | None


class HeldByAnother(Exception):
    """Another request holds the reservation. It may not need it any more."""

    def __init__(self, hold: Hold) -> None:
        super().__init__("Another request holds the reservation.")
        self.hold = hold


class OpenRequestExists(Rejection):
    """The person has a request that is not decided yet.

    Who applies may be a stranger. The message helps the person, and does not say why.
    """

    def __init__(self) -> None:
        super().__init__(
            "We cannot take this application now. If you have applied before, please follow that "
            "request at the address that you were given, and apply again once it is decided."
        )


class ReservationIsGone(Rejection):
    """The events of the reservation were deleted: nobody can tell whether a request holds it."""

    def __init__(self) -> None:
        super().__init__(
            "We cannot take this application now: our record of earlier applications is not "
            "complete. It has to be restored here first. Please contact us."
        )


def decide(command: ReservationCommand, hold: Hold | None) -> list[ReservationEvent]:
    """The events that `command` causes; none if it was carried out before.

    Raises:
        HeldByAnother: the reservation cannot be taken.
    """
    match command:
        case TakeReservation():
            return _take(command, hold)
        case ReleaseReservation():
            return _release(command, hold)
        case _:
            assert_never(command)


def _take(command: TakeReservation, hold: Hold | None) -> list[ReservationEvent]:
    taken = ReservationTaken(id=command.id, occurred_at=command.issued_at, covers=command.covers)
    if hold is None:
        return [taken]
    if (hold.id, hold.covers) == (command.id, command.covers):
        return []
    if hold.id not in (command.id, command.instead_of):
        raise HeldByAnother(hold)
    return [ReservationReleased(id=hold.id, occurred_at=command.issued_at), taken]


def _release(command: ReleaseReservation, hold: Hold | None) -> list[ReservationEvent]:
    if hold is None or (hold.id, hold.covers) != (command.id, command.covers):
        return []
    return [ReservationReleased(id=command.id, occurred_at=command.issued_at)]


def evolve(hold: Hold | None, event: ReservationEvent) -> Hold | None:
    """The hold on the reservation after `event`; `None` if it is free."""
    match event:
        case ReservationTaken():
            return Hold(event.id, event.covers)
        case ReservationReleased():
            return None
        case _:
            assert_never(event)


def fold(events: Iterable[ReservationEvent]) -> Hold | None:
    """The hold on the reservation after all of `events`, oldest first.

    The last one alone says so: those before it may be missing.
    """
    return reduce(evolve, events, None)
