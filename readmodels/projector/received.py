"""Events as the event store delivers them, decoded once for all projections that take them."""

from __future__ import annotations

from functools import lru_cache
from typing import Final
from uuid import UUID

from esdbclient import RecordedEvent

from loans.adapters import codec
from loans.domain.events import LoanEvent, LossEvent, PolicyEvent

ProjectedEvent = LoanEvent | LossEvent | PolicyEvent

# An event without a payload, with what Python needs for it.
_OVERHEAD: Final = 1_000


class Received:
    """A recorded event at its commit position. Others' events are kept without their payload.

    `loan_request_id`: the loan request whose stream it is in; `None` for other streams. `is_ours`:
    it is in a stream of ours, since others may share the store, and our types. `is_of_newer_type`:
    it is such an event, of a type that only a newer version of the program knows. `size` is about
    how many bytes it takes in memory.
    """

    __slots__ = (
        "_event",
        "is_of_newer_type",
        "is_ours",
        "loan_request_id",
        "position",
        "recorded",
        "size",
    )

    def __init__(self, recorded: RecordedEvent) -> None:
        assert recorded.commit_position is not None, "events of $all have a position"
        self.position: Final = recorded.commit_position
        self.loan_request_id: Final = _loan_request_id(recorded.stream_name)
        self._event: ProjectedEvent | None = None
        self.recorded = recorded
        self.is_ours: Final = self._is_ours()
        is_known = recorded.type in codec.PROJECTED_EVENTS
        self.is_of_newer_type: Final = not is_known and self._is_of_newer_type()
        if not (self.is_of_newer_type or (is_known and self.is_ours)):
            self.recorded = codec.without_payload(recorded)
        self.size: Final = (
            _OVERHEAD
            + len(self.recorded.data)
            + len(self.recorded.metadata)
            + len(recorded.stream_name)
        )

    def _is_ours(self) -> bool:
        if self.recorded.type in codec.LOSS_EVENTS:
            return codec.is_loss_event(self.recorded)
        if self.recorded.type in codec.POLICY_EVENTS:
            return codec.is_policy_event(self.recorded)
        is_json = self.recorded.content_type == codec.CONTENT_TYPE
        return is_json and self.loan_request_id is not None

    @property
    def event(self) -> ProjectedEvent:
        """The domain event. Decoded when first asked for, since most projections take few types.

        Raises:
            KeyError: the type is not ours.
            WrittenByNewerVersion: only a newer version of the program can read it.
            ValueError: the data does not fit the type.
        """
        if self._event is None:
            recorded = self.recorded
            event = codec.decode_as(
                codec.PROJECTED_EVENTS, recorded.type, recorded.data, recorded.metadata
            )
            if event is None:
                raise KeyError(recorded.type)
            self._event = event
        return self._event

    def _is_of_newer_type(self) -> bool:
        recorded = self.recorded
        if not (self.is_ours or codec.is_loss_or_policy_name(recorded.stream_name)):
            return False
        return codec.is_of_newer_type(recorded.type, recorded.metadata)


@lru_cache(maxsize=1_000)
def _loan_request_id(stream_name: str) -> UUID | None:
    # Kept, since a stream's events often come together.
    try:
        return codec.loan_request_id(stream_name)
    except ValueError:
        return None
