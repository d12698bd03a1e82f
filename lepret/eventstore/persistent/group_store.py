"""What groups store in the log: settings, checkpoints and parked messages.

Streams, event types and content are those of EventStoreDB.
"""

import json
import logging
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import uuid4

from pydantic import BaseModel, ValidationError

from lepret.eventstore import messages
from lepret.eventstore.persistent.message import Message
from lepret.eventstore.persistent.settings import ALL, GroupName, GroupSettings
from lepret.eventstore.rpc import Refusal, StatusCode
from lepret.eventstore.storage.group_commit import GroupCommit
from lepret.eventstore.storage.history import History
from lepret.eventstore.storage.links import LINK_TYPE
from lepret.eventstore.storage.log import MAX_REVISION
from lepret.eventstore.storage.records import Record
from lepret.eventstore.storage.stream_metadata import METADATA_TYPE, metastream_of
from lepret.eventstore.storage.stream_state import StreamIsDeleted
from lepret.eventstore.storage.tail import Tail
from lepret.eventstore.writes import Append, Appended, Delete, Expectation, ProposedEvent

SETTINGS_STREAM = "$persistentSubscriptionConfig"
SETTINGS_TYPE = "$PersistentConfig"
CHECKPOINT_TYPE = "$SubscriptionCheckpoint"

MAX_REASON = 4096
"""Longer reasons for parking are cut to this many characters."""

_NEWEST_ONLY = {"$maxCount": 2}

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Parked:
    """The range of a group's parked messages, as revisions in the parked stream."""

    first: int = 0
    """The first that was not replayed."""
    end: int = 0
    """One after the last."""

    @property
    def count(self) -> int:
        """How many messages are parked."""
        return self.end - self.first

    def add(self, revision: int) -> None:
        """Count a message that was parked at this revision."""
        if not self.count:
            self.first = revision
        self.end = revision + 1


class _SettingsEvent(BaseModel):
    entries: tuple[GroupSettings, ...]


class GroupStore:
    """Reads and writes what groups store.

    All methods that write raise Refusal (UNAVAILABLE) if they cannot.
    """

    def __init__(self, history: History, tail: Tail, commit: GroupCommit) -> None:
        self._history = history
        self._tail = tail
        self._commit = commit

    # Settings -----------------------------------------------------------------------

    async def load_settings(self) -> list[GroupSettings]:
        """The settings of all groups, as they were last written.

        Any client may write to that stream, so invalid settings are skipped.
        """
        for record in await self._newest(SETTINGS_STREAM):
            try:
                event = _SettingsEvent.model_validate_json(messages.data_of(record.response))
            except ValidationError:
                logger.warning("invalid settings of persistent subscriptions were skipped")
            else:
                return list({entry.name: entry for entry in event.entries}.values())
        return []

    async def save_settings(self, entries: Iterable[GroupSettings]) -> None:
        """Write the settings of all groups."""
        content = {
            "version": "2",
            "updated": _now(),
            "entries": [entry.model_dump(mode="json", by_alias=True) for entry in entries],
        }
        if not await self._newest(SETTINGS_STREAM):
            await self._set_metadata(SETTINGS_STREAM, _NEWEST_ONLY)
        await self._append(SETTINGS_STREAM, _json_event(SETTINGS_TYPE, content))

    # Checkpoints --------------------------------------------------------------------

    async def load_checkpoint(self, name: GroupName) -> int | None:
        """The number of the last event that is done; None without a checkpoint."""
        for record in await self._newest(_checkpoint_stream(name)):
            checkpoint = _parse_checkpoint(messages.data_of(record.response))
            if checkpoint is not None:
                return checkpoint
        return None

    async def write_checkpoint(self, settings: GroupSettings, number: int) -> None:
        """Store the number after which the group will start next time."""
        event = _json_event(CHECKPOINT_TYPE, settings.number_text(number))
        await self._append(_checkpoint_stream(settings.name), event)

    # Parked messages ----------------------------------------------------------------

    async def load_parked(self, name: GroupName) -> Parked:
        """The range of parked messages."""
        stream = _parked_stream(name)
        newest = await self._newest(stream)
        if not newest:
            return Parked()
        oldest = await self._history.stream_page(stream, 0, self._tail.head)
        # Metadata that a client wrote may hide them one by one.
        first = oldest[0] if oldest else newest[0]
        return Parked(first.revision, newest[0].revision + 1)

    async def park(self, name: GroupName, message: Message, reason: str) -> int:
        """Park a message; returns its revision in the parked stream."""
        details: dict[str, object] = {"added": _now(), "reason": reason[:MAX_REASON]}
        if message.revision:  # As EventStoreDB, which leaves out what is zero.
            details["subscriptionEventNumber"] = message.revision
        link = ProposedEvent(uuid4(), LINK_TYPE, False, message.link, json.dumps(details).encode())
        return await self._append(_parked_stream(name), link)

    async def parked_pages(self, name: GroupName, parked: Parked) -> AsyncIterator[list[Record]]:
        """The links to parked messages, in pages."""
        stream, head = _parked_stream(name), self._tail.head
        async for page in self._history.stream_forwards(stream, parked.first, head):
            yield [record for record in page if record.revision < parked.end]
            if page[-1].revision >= parked.end - 1:
                return

    async def truncate_parked(self, name: GroupName, before: int) -> None:
        """Hide the parked messages before a revision."""
        await self._set_metadata(_parked_stream(name), {"$tb": before})

    # Streams ------------------------------------------------------------------------

    async def forget(self, name: GroupName) -> None:
        """Delete the checkpoints and the parked messages of a deleted group."""
        for stream in (_checkpoint_stream(name), _parked_stream(name)):
            await self._commit.append(Delete(stream, Expectation.STREAM_EXISTS))

    async def next_number(self, stream: str) -> int:
        """The number of the next event of a stream, or of `$all`."""
        if stream == ALL:
            return self._tail.head + 1
        newest = await self._newest(stream)
        return newest[0].revision + 1 if newest else 0

    async def record(self, position: int, *, resolve: bool) -> Record | None:
        """The event at a position of the log; None if it was scavenged."""
        page = await self._history.all_page(position, position)
        if resolve:
            page = await self._history.resolved(page)
        return page[0] if page else None

    async def _newest(self, stream: str) -> Sequence[Record]:
        """The last page of a stream, newest first."""
        pages = self._history.stream_backwards(stream, MAX_REVISION, self._tail.head)
        try:
            return await anext(pages, None) or []
        except StreamIsDeleted:
            return []

    async def _set_metadata(self, stream: str, metadata: object) -> None:
        await self._append(metastream_of(stream), _json_event(METADATA_TYPE, metadata))

    async def _append(self, stream: str, event: ProposedEvent) -> int:
        outcome = await self._commit.append(Append(stream, Expectation.ANY, (event,)))
        if isinstance(outcome, Appended) and outcome.revision is not None:
            return outcome.revision
        raise Refusal(StatusCode.UNAVAILABLE, "The group's streams cannot be written to.")


def _checkpoint_stream(name: GroupName) -> str:
    return f"$persistentsubscription-{name}-checkpoint"


def _parked_stream(name: GroupName) -> str:
    return f"$persistentsubscription-{name}-parked"


def _json_event(event_type: str, content: object) -> ProposedEvent:
    return ProposedEvent(uuid4(), event_type, True, json.dumps(content).encode(), b"")


def _parse_checkpoint(data: bytes) -> int | None:
    """Parse a checkpoint that `GroupSettings.number_text` wrote; None for anything else."""
    try:
        text = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(text, str):
        return None
    digits = text.removeprefix("C:").partition("/")[0]
    if not digits.isascii() or not digits.isdigit():
        return None
    return min(int(digits[:20]), MAX_REVISION)


def _now() -> str:
    return datetime.now(UTC).isoformat()
