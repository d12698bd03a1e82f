"""Events as they come from the event store, decoded once for all projections that take them."""

from __future__ import annotations

from types import EllipsisType
from typing import Final
from uuid import UUID

from esdbclient import RecordedEvent

from loans.adapters import codec
from loans.domain.events import LoanEvent


class Received:
    """A recorded event at its commit position."""

    __slots__ = ("_event", "_loan_request_id", "position", "recorded")

    def __init__(self, recorded: RecordedEvent) -> None:
        assert recorded.commit_position is not None, "events of $all have a position"
        self.position: Final = recorded.commit_position
        self.recorded: Final = recorded
        self._event: LoanEvent | None = None
        self._loan_request_id: UUID | EllipsisType | None = ...  # not looked at yet

    @property
    def loan_request_id(self) -> UUID | None:
        """Whose stream it is in; `None` where that is no loan request's. Read from it once."""
        if self._loan_request_id is ...:
            try:
                self._loan_request_id = codec.loan_request_id(self.recorded.stream_name)
            except ValueError:
                self._loan_request_id = None
        return self._loan_request_id

    @property
    def event(self) -> LoanEvent:
        """What it says. Decoded when first asked for: most projections take few types.

        Raises:
            KeyError: this version does not know the type.
            ValueError: the data is not what an event of this type has.
        """
        if self._event is None:
            recorded = self.recorded
            event = codec.decode(recorded.type, recorded.data, recorded.metadata)
            if event is None:
                raise KeyError(recorded.type)
            self._event = event
        return self._event
