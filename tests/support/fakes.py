"""Hand-written stand-ins for the ports."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from loans import codec
from loans.credit_bureau import CreditBureauUnavailable
from loans.domain.events import LoanEvent
from loans.event_store import EventStoreUnavailable, StaleRevision, Stream


@dataclass
class FakeEventStore:
    """Streams in a dictionary. `before_append` runs ahead of an append, as other people do."""

    streams: dict[UUID, list[LoanEvent]] = field(default_factory=dict)
    before_append: list[Callable[[], object]] = field(default_factory=list)
    event_ids: list[UUID] = field(default_factory=list)
    is_away: bool = False

    def load(self, loan_request_id: UUID) -> Stream:
        if self.is_away:
            raise EventStoreUnavailable
        events = self.streams.get(loan_request_id, [])
        if not events:
            return Stream()
        return Stream(tuple(events), revision=len(events) - 1, position=len(self.event_ids))

    def append(
        self,
        loan_request_id: UUID,
        events: Sequence[LoanEvent],
        *,
        revision: int | None,
        command_id: UUID,
        user: str,
    ) -> int:
        if self.before_append:
            self.before_append.pop(0)()
        if self.load(loan_request_id).revision != revision:
            raise StaleRevision
        self.streams.setdefault(loan_request_id, []).extend(events)
        encode = codec.encode
        self.event_ids += [encode(each, command_id=command_id, user=user).id for each in events]
        return len(self.event_ids)


@dataclass
class FakeCreditBureau:
    """Always the same score, or none to be had; keeps the keys that it was asked with."""

    answer: int | None = 5
    keys: list[UUID] = field(default_factory=list)

    def score(self, national_id: str, *, idempotency_key: UUID) -> int:
        self.keys.append(idempotency_key)
        if self.answer is None:
            raise CreditBureauUnavailable
        return self.answer
