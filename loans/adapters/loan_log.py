"""All events of loan requests, read from `$all` once, from the first to the last."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final

from esdbclient import RecordedEvent
from esdbclient.exceptions import EventStoreDBClientException

from lepret.common.event_store_connection import SharedClient
from loans.adapters import codec
from loans.adapters.event_store import EventStoreUnavailable
from loans.domain.events import LoanEvent

# An answer's time-out is for all of its events, so what may take minutes is asked for in pages.
EVENTS_IN_A_PAGE: Final = 10_000
SECONDS_FOR_A_PAGE: Final = 60.0
FAILURES_IN_A_ROW: Final = 5
SECONDS_BETWEEN_TRIES: Final = 1.0

Progress = Callable[[int, int], None]
"""Is told how far reading has come, and how far it will go: commit positions."""


def tell_nobody(reached: int, end: int) -> None:
    """For those who need not know how far it is."""


class LoanLog:
    """Reads the events of all loan requests that an event store has when reading begins.

    What this version of the program cannot read is counted, and left out: `unreadable`, and
    `of_newer_version`, which a newer version has written.
    """

    def __init__(
        self,
        connect: Callable[[], SharedClient],
        *,
        on_page: Progress = tell_nobody,
        page: int = EVENTS_IN_A_PAGE,
    ) -> None:
        self._connect = connect
        self._on_page = on_page
        self._page = page
        self._reached = 0
        self.unreadable = 0
        self.of_newer_version = 0

    def __iter__(self) -> Iterator[LoanEvent]:
        """The events in the order of `$all`. They can be read once.

        Raises:
            EventStoreUnavailable: no answer in time.
        """
        try:
            yield from self._events()
        except EventStoreDBClientException as loss:
            raise EventStoreUnavailable from loss

    def _events(self) -> Iterator[LoanEvent]:
        for recorded in self._recorded():
            event = self._decoded(recorded)
            if event is not None:
                yield event

    def _recorded(self) -> Iterator[RecordedEvent]:
        # Of any kind, system events too: the store need not search for it.
        end = self._connect().get_commit_position(filter_exclude=(), timeout=SECONDS_FOR_A_PAGE)
        failures = 0
        while self._reached < end:
            before = self._reached
            self._on_page(before, end)
            try:
                yield from self._page_from(before, end)
            except EventStoreDBClientException:
                # What takes minutes need not fail for a connection that breaks, or for a restart.
                failures = failures + 1 if self._reached == before else 0
                if failures == FAILURES_IN_A_ROW:
                    raise
                time.sleep(SECONDS_BETWEEN_TRIES)
        self._on_page(end, end)

    def _page_from(self, before: int, end: int) -> Iterator[RecordedEvent]:
        # By the stream: a type of a newer version, whose name nobody here knows, is to be counted.
        page = self._connect().read_all(
            commit_position=before or None,
            filter_include=[f"{codec.STREAM_PREFIX}.*"],
            filter_by_stream_name=True,
            limit=self._page,
            timeout=SECONDS_FOR_A_PAGE,
        )
        count = 0
        for recorded in page:
            count += 1
            assert recorded.commit_position is not None, "events of $all have a position"
            # A page begins with the event at the position itself.
            if before < recorded.commit_position <= end:
                yield recorded
            self._reached = recorded.commit_position
        if count < self._page:
            self._reached = end

    def _decoded(self, recorded: RecordedEvent) -> LoanEvent | None:
        if not _is_of_a_loan(recorded):
            return None
        try:
            return codec.decode(recorded.type, recorded.data, recorded.metadata)
        except codec.WrittenByNewerVersion:
            self.of_newer_version += 1
        except Exception:  # noqa: BLE001 (whatever is stored there, the others can be read)
            self.unreadable += 1
        return None


def _is_of_a_loan(recorded: RecordedEvent) -> bool:
    try:
        codec.loan_request_id(recorded.stream_name)
    except ValueError:
        return False
    return recorded.content_type == codec.CONTENT_TYPE
