"""All groups: creates, updates, deletes, finds, starts and stops them."""

import asyncio
import logging
import sqlite3
from typing import NamedTuple

from lepret.eventstore.persistent import refusals
from lepret.eventstore.persistent.group_store import GroupStore
from lepret.eventstore.persistent.running_group import RunningGroup
from lepret.eventstore.persistent.settings import ALL, GroupName, GroupSettings
from lepret.eventstore.persistent.source import Source
from lepret.eventstore.persistent.strategies import STRATEGIES
from lepret.eventstore.persistent.subscriber import Outbox
from lepret.eventstore.rpc import Refusal, place_of
from lepret.eventstore.storage.group_commit import GroupCommit
from lepret.eventstore.storage.history import History
from lepret.eventstore.storage.tail import Tail

TICK = 1.0
"""Seconds between two checks for timeouts, as in EventStoreDB."""

MAX_GROUPS = 250
"""Each keeps up to `BUFFER_BYTES` of events in memory, and each change writes all settings."""

logger = logging.getLogger(__name__)


class _Broken(NamedTuple):
    """A group that cannot run as it was stored, by an older version or by a client."""

    settings: GroupSettings
    reason: str


class Groups:
    """The groups by name. Only one change is made at a time."""

    def __init__(self, history: History, tail: Tail, commit: GroupCommit) -> None:
        self._history = history
        self._tail = tail
        self._store = GroupStore(history, tail, commit)
        self._groups: dict[GroupName, RunningGroup] = {}
        self._outbox = Outbox()
        self._broken: dict[GroupName, _Broken] = {}
        self._changing = asyncio.Lock()
        self._ticking: asyncio.Task[None] | None = None

    # Start and stop -----------------------------------------------------------------

    async def start(self) -> None:
        """Start all groups where they stopped. What is stored never stops the server's start."""
        for settings in await self._store.load_settings():
            await self._load(settings)
        self._ticking = asyncio.create_task(self._tick())

    async def stop(self, within: float) -> None:
        """Stop all groups and write their checkpoints, for at most ``within`` seconds."""
        if self._ticking is not None:
            self._ticking.cancel()
        stopping = [asyncio.create_task(_stop(group)) for group in self._groups.values()]
        if stopping:
            await asyncio.wait(stopping, timeout=within)

    async def restart(self) -> None:
        """Stop and start all groups; subscribers have to connect again."""
        async with self._changing:
            wanted = await self._store.load_settings()
            for name, group in list(self._groups.items()):
                group.drop()
                await _stop(group)
                if name not in {settings.name for settings in wanted}:
                    del self._groups[name]
            self._broken.clear()
            for settings in wanted:
                await self._load(settings)

    async def _load(self, settings: GroupSettings) -> None:
        if reason := self._fault(settings):
            self._lay_aside(settings, reason)
            return
        group = self._prepared(settings)
        try:
            await group.load()
        except Exception as error:  # noqa: BLE001 - one group must not keep the others from it
            self._lay_aside(settings, f"What it has stored cannot be read: {type(error).__name__}.")
            return
        self._begin(group)

    def _lay_aside(self, settings: GroupSettings, reason: str) -> None:
        """Keep a group that cannot run: it is refused, and can be updated or deleted."""
        logger.warning("a persistent subscription cannot run as it was stored, and is refused")
        self._groups.pop(settings.name, None)
        self._broken[settings.name] = _Broken(settings, reason)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            for group in self._groups.values():
                try:
                    group.tick()
                except Exception as error:  # noqa: BLE001 - the others' clock goes on
                    logger.error("a persistent subscription's check failed: %s", place_of(error))

    # Changes ------------------------------------------------------------------------

    async def next_number(self, stream: str) -> int:
        """The number of the next event of a stream, or of `$all`."""
        return await self._store.next_number(stream)

    async def create(self, settings: GroupSettings) -> None:
        """Create a group.

        Raises Refusal: ALREADY_EXISTS, INTERNAL for invalid settings, RESOURCE_EXHAUSTED.
        """
        async with self._changing:
            existing = self._all_settings()
            if settings.name in existing:
                raise refusals.exists(settings.name)
            if len(existing) >= MAX_GROUPS:
                raise refusals.too_many(MAX_GROUPS)
            group = self._prepared(settings)
            await self._store.forget(settings.name)
            await self._save({**self._all_settings(), settings.name: settings})
            self._begin(group)

    async def update(self, settings: GroupSettings) -> None:
        """Update all settings of a group except its filter; subscribers have to connect again.

        Raises Refusal: NOT_FOUND, INTERNAL for invalid settings.
        """
        async with self._changing:
            old = self._all_settings().get(settings.name)
            if old is None:
                raise refusals.does_not_exist(settings.name)
            settings = settings.model_copy(update={"filter": old.filter})
            group = self._prepared(settings)
            await self._save({**self._all_settings(), settings.name: settings})
            await self._end(settings.name)
            await group.load()
            self._begin(group)

    async def delete(self, name: GroupName) -> None:
        """Delete a group and what it has stored, and drop its subscribers.

        Raises Refusal (NOT_FOUND).
        """
        async with self._changing:
            others = self._all_settings()
            if others.pop(name, None) is None:
                raise refusals.does_not_exist(name)
            await self._save(others)
            await self._end(name)
            await self._store.forget(name)

    async def _end(self, name: GroupName) -> None:
        """Forget a group, and drop its subscribers."""
        self._broken.pop(name, None)
        group = self._groups.pop(name, None)
        if group is not None:
            group.drop()
            await group.stop()

    def _all_settings(self) -> dict[GroupName, GroupSettings]:
        groups = {name: group.settings for name, group in self._groups.items()}
        return {**groups, **{name: broken.settings for name, broken in self._broken.items()}}

    async def _save(self, settings: dict[GroupName, GroupSettings]) -> None:
        await self._store.save_settings(settings.values())

    def _prepared(self, settings: GroupSettings) -> RunningGroup:
        """A group to start. Raises Refusal (INTERNAL)."""
        if reason := self._fault(settings):
            raise refusals.failed(settings.name, reason)
        source = Source(self._history, self._tail, settings)
        return RunningGroup(settings, source, self._history, self._store, self._outbox)

    def _begin(self, group: RunningGroup) -> None:
        self._groups[group.settings.name] = group
        group.start()

    def _fault(self, settings: GroupSettings) -> str | None:
        """Why EventStoreDB would refuse the settings; None if it would not."""
        if settings.named_consumer_strategy not in STRATEGIES:
            return f"Consumer strategy {settings.named_consumer_strategy} does not exist."
        if settings.read_batch_size >= settings.history_buffer_size:
            return "The read batch size must be less than the history buffer size."
        if settings.stream == ALL and settings.start_from > self._tail.head:
            return (
                "Invalid Start From position: commit position must be less than or equal to the"
                " last commit position in the transaction file."
            )
        try:
            settings.keep()
        except ValueError as error:
            return str(error)
        return None

    # Finding ------------------------------------------------------------------------

    def find(self, name: GroupName) -> RunningGroup:
        """The group of that name. Raises Refusal (NOT_FOUND, INTERNAL if it cannot run)."""
        if name in self._broken:
            raise refusals.failed(name, self._broken[name].reason)
        group = self._groups.get(name)
        if group is None:
            raise refusals.does_not_exist(name)
        return group

    def of(self, stream: str) -> list[RunningGroup]:
        """The groups on a stream, or on `$all`."""
        return [group for name, group in self._groups.items() if name.stream == stream]

    def all(self) -> list[RunningGroup]:
        """All groups, ordered by the stream that they read."""
        return sorted(self._groups.values(), key=lambda group: group.settings.stream)


async def _stop(group: RunningGroup) -> None:
    await group.stop()
    try:
        await group.write_last_checkpoint()
    except (Refusal, sqlite3.Error) as error:
        logger.warning("a checkpoint could not be written: %s", type(error).__name__)
