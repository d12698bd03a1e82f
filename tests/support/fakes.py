"""Fakes of the event store and of the credit bureau."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import grpc
from esdbclient.exceptions import GrpcError

from lepret.common.aside import Do, at_once
from loans.adapters import codec
from loans.adapters.codec import E, StreamId
from loans.adapters.credit_bureau import CreditBureauUnavailable
from loans.adapters.event_store import (
    EventStoreUnavailable,
    F,
    NewerVersionNeeded,
    Recorded,
    StaleRevision,
    Stream,
    StreamGone,
)
from loans.application.policies import Policies
from loans.application.reservations import Reservations
from loans.domain.credit_report import CreditReport
from loans.domain.events import Event, LoanEvent
from loans.domain.policy import PolicyInForce


class _Denied(grpc.RpcError, grpc.Call):  # type: ignore[misc]
    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.PERMISSION_DENIED


_Denied.__abstractmethods__ = frozenset()  # type: ignore[attr-defined]


def denied() -> GrpcError:
    """What esdbclient raises where the event store does not let a user do something."""
    return GrpcError(_Denied())


@dataclass
class FakeEventStore:
    """Streams in a dictionary; those named in `gone` were deleted.

    Those named in `newer` have an event that only a newer version of the program can read.

    Each append first runs the next of `before_append`, if any. `clock` is the store's own.
    """

    streams: dict[str, list[Recorded[Any]]] = field(default_factory=dict)
    before_append: list[Callable[[], object]] = field(default_factory=list)
    event_ids: list[UUID] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)
    newer: set[str] = field(default_factory=set)
    is_away: bool = False
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)

    def load(self, stream: StreamId[E]) -> Stream[E]:
        self._answer_about(stream)
        recorded = self.streams.get(stream.name, [])
        if not recorded:
            return Stream()
        return Stream(tuple(recorded), recorded[-1].revision, recorded[-1].position)

    def assume_new(self, stream: StreamId[E]) -> Stream[E]:
        self._answer_about(stream)
        return Stream()

    def load_beside(
        self, stream: StreamId[E], new: StreamId[F]
    ) -> tuple[Stream[E], Stream[F] | None]:
        loaded = self.load(stream)
        with suppress(StreamGone):
            return loaded, self.assume_new(new)
        return loaded, None

    def append(
        self,
        stream: StreamId[E],
        events: Sequence[Event],
        *,
        revision: int | None,
        command_id: UUID,
        user: str,
    ) -> int:
        if self.before_append:
            self.before_append.pop(0)()
        if stream.name in self.gone:
            raise StreamGone
        ids = [codec.encode(each, command_id=command_id, user=user).id for each in events]
        start = 0 if revision is None else revision + 1
        recorded = self.streams.get(stream.name, [])
        there = recorded[start : start + len(ids)]
        if [self.event_ids[each.position] for each in there] == ids:
            return there[-1].position
        if len(recorded) != start:
            raise StaleRevision
        for number, (event, event_id) in enumerate(zip(events, ids, strict=True), start):
            new = Recorded(event, number, len(self.event_ids), command_id, self.now())
            self.streams.setdefault(stream.name, []).append(new)
            self.event_ids.append(event_id)
        return len(self.event_ids) - 1

    def now(self) -> datetime:
        return self.clock()

    def _answer_about(self, stream: StreamId[E]) -> None:
        if self.is_away:
            raise EventStoreUnavailable
        if stream.name in self.gone:
            raise StreamGone
        if stream.name in self.newer:
            raise NewerVersionNeeded

    def events_of(self, loan_request_id: UUID) -> list[LoanEvent]:
        """The events of a loan request."""
        return list(self.load(codec.loan_request_stream(loan_request_id)).events)


class AlwaysInForce(Policies):
    """One policy, which is known without asking."""

    def __init__(self, in_force: PolicyInForce) -> None:
        super().__init__(FakeEventStore())
        self._in_force = in_force

    def in_force(self, at: datetime) -> PolicyInForce:
        return self._in_force


def reservations_in(event_store: FakeEventStore, aside: Do = at_once) -> Reservations:
    """The reservations in a fake event store."""
    minute = timedelta(seconds=60)
    return Reservations(event_store, key=b"a key", lapse_after=minute, aside=aside)


@dataclass
class FakeCreditBureau:
    """Always gives the score `answer`; `None` means that it is down. Keeps the keys it got."""

    answer: int | None = 5
    keys: list[UUID] = field(default_factory=list)

    def report(self, national_id: str, *, idempotency_key: UUID) -> CreditReport:
        self.keys.append(idempotency_key)
        if self.answer is None:
            raise CreditBureauUnavailable
        return CreditReport(score=self.answer)
