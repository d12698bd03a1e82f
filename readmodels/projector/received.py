"""Events as the event store delivers them, decoded once for all projections that take them."""

from __future__ import annotations

from types import EllipsisType
from typing import Final
from uuid import UUID

from esdbclient import RecordedEvent

from loans.adapters import codec
from loans.domain.events import LoanEvent, LossEvent

# An event without a payload, with what Python needs for it.
_OVERHEAD: Final = 1_000


class Received:
    """A recorded event at its commit position. Others' events are kept without their payload.

    `size` is about how many bytes it takes in memory. `is_of_newer_type`: it is an event of a loan
    request whose type only a newer version of the program knows.
    """

    __slots__ = ("_event", "_loan_request_id", "is_of_newer_type", "position", "recorded", "size")

    def __init__(self, recorded: RecordedEvent) -> None:
        assert recorded.commit_position is not None, "events of $all have a position"
        self.position: Final = recorded.commit_position
        self._event: LoanEvent | LossEvent | None = None
        self._loan_request_id: UUID | EllipsisType | None = ...  # not looked at yet
        self.recorded = recorded
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

    @property
    def loan_request_id(self) -> UUID | None:
        """The loan request whose stream it is in; `None` for other streams. Parsed once."""
        if self._loan_request_id is ...:
            try:
                self._loan_request_id = codec.loan_request_id(self.recorded.stream_name)
            except ValueError:
                self._loan_request_id = None
        return self._loan_request_id

    @property
    def is_ours(self) -> bool:
        """Whether it is an event of a loan request; others may share the store, and our types."""
        if self.recorded.type in codec.LOSS_EVENTS:
            return codec.is_loss_event(self.recorded)
        is_json = self.recorded.content_type == codec.CONTENT_TYPE
        return is_json and self.loan_request_id is not None

    @property
    def event(self) -> LoanEvent | LossEvent:
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
        if not (self.is_ours or codec.is_loss_name(recorded.stream_name)):
            return False
        return codec.is_of_newer_type(recorded.type, recorded.metadata)
