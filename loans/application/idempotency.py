"""`Idempotency-Key`: the event store remembers which call each key was used for.

The first call with a key creates a stream for the key, with one event. The event's id is derived
from the call. So the same call can append the same event again at any time, and another call
cannot. The command is then carried out; sent again, it gets the same answer.

See https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID, uuid5

from lepret.common.keyed_hashes import keyed_hash
from loans.adapters.codec import StreamId
from loans.adapters.event_store import EventStore, StaleRevision, StreamGone
from loans.domain.events import Event

STREAM_PREFIX: Final = "IdempotencyKey:"
IDEMPOTENCY: Final = "idempotency"


class IdempotencyKeyUsed(Event):
    """A caller used a key for a call about the loan request `id`.

    `fingerprint` is a hash of the call, in hex. It is keyed, since the call has personal data.
    """

    fingerprint: str


class KeyUsedOtherwise(Exception):
    """The caller has used the key for another call."""


class KeyGone(Exception):
    """The record of what the key was used for was deleted for good, and cannot be made again."""


@dataclass(frozen=True)
class IdempotencyKey:
    """A caller's key. The same value from another caller is another key."""

    caller: str
    value: str = field(repr=False)


class IdempotencyKeys:
    """The keys that callers have used. They are stored as hashes, keyed with `secret`."""

    def __init__(self, event_store: EventStore, *, secret: bytes) -> None:
        self._event_store = event_store
        self._secret = secret

    def loan_request_id(self, key: IdempotencyKey) -> UUID:
        """The id of the loan request that a call with this key makes. It cannot be guessed."""
        return UUID(bytes=self._hash("loan request", key)[:16], version=4)

    def note_id(self, key: IdempotencyKey) -> UUID:
        """The id of the note that a call with this key adds."""
        return UUID(bytes=self._hash("note", key)[:16], version=4)

    def use(self, key: IdempotencyKey, *call: str, loan_request_id: UUID, now: datetime) -> None:
        """Record that a key is used for a call, which the parts in `call` identify.

        Raises:
            KeyUsedOtherwise: the key was used for another call.
            KeyGone: nobody knows any more what it was used for.
            EventStoreUnavailable: no answer in time; trying again is safe.
        """
        fingerprint = keyed_hash(self._secret, "idempotent call", *call).hex()
        used = IdempotencyKeyUsed(id=loan_request_id, occurred_at=now, fingerprint=fingerprint)
        stream_id = self.stream_of(key)
        try:
            self._event_store.append(
                stream_id,
                [used],
                revision=None,
                command_id=uuid5(loan_request_id, f"{stream_id.name}\n{fingerprint}"),
                user=IDEMPOTENCY,
            )
        except StaleRevision:
            raise KeyUsedOtherwise from None
        except StreamGone:
            raise KeyGone from None

    def stream_of(self, key: IdempotencyKey) -> StreamId[IdempotencyKeyUsed]:
        """The stream of a caller's key."""
        name = f"{STREAM_PREFIX}{self._hash('idempotency key', key).hex()}"
        return StreamId(name, {IdempotencyKeyUsed.__name__: IdempotencyKeyUsed})

    def _hash(self, purpose: str, key: IdempotencyKey) -> bytes:
        return keyed_hash(self._secret, purpose, key.caller, key.value)
