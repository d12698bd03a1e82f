"""A group with its I/O: reading, sending, parking, checkpoints, timeouts."""

import asyncio
import logging
import time
from collections.abc import Coroutine, Iterable, Sequence
from uuid import UUID

from lepret.eventstore.persistent import conversion, refusals
from lepret.eventstore.persistent.group import Group, Nack
from lepret.eventstore.persistent.group_store import GroupStore, Parked
from lepret.eventstore.persistent.message import Message
from lepret.eventstore.persistent.meter import Meter
from lepret.eventstore.persistent.settings import GroupSettings
from lepret.eventstore.persistent.source import Source
from lepret.eventstore.persistent.subscriber import Delivery, Outbox, Subscriber
from lepret.eventstore.rpc import Refusal, place_of
from lepret.eventstore.storage.history import History
from lepret.eventstore.storage.records import Record
from lepret.eventstore.storage.stream_state import StreamIsDeleted

SEND_AT_ONCE = 256 * 1024
"""Bytes of events that are sent to a subscriber at once."""

READ_AGAIN_AFTER = 1.0
"""Seconds until the log is read again after an error."""

logger = logging.getLogger(__name__)


class SubscriberConnection:
    """A subscriber's call of Read."""

    def __init__(self, name: str, slots: int, outbox: Outbox) -> None:
        self.name = name
        self._woken = asyncio.Event()
        self._ending: Refusal | None = None
        self.subscriber = Subscriber(slots, self._woken.set, outbox)
        self.meter = Meter(time.monotonic())

    def end(self, refusal: Refusal) -> None:
        """End the call."""
        self._ending = refusal
        self._woken.set()

    async def wait_for_messages(self) -> None:
        """Wait until there may be messages to send. Raises the Refusal that ends the call."""
        await self._woken.wait()
        self._woken.clear()
        if self._ending is not None:
            raise self._ending


class RunningGroup:
    """Reads the log for a group and carries out what the group decides."""

    def __init__(
        self,
        settings: GroupSettings,
        source: Source,
        history: History,
        store: GroupStore,
        outbox: Outbox,
    ) -> None:
        """Call `load`, unless the group is new, then `start`."""
        self.settings = settings
        self.parked = Parked()
        self.checkpoint: int | None = None
        """The last written checkpoint."""
        self.last_known: int | None = None
        """The number of the last event read."""
        self.is_replaying = False
        self.source = source
        self.connections: list[SubscriberConnection] = []
        self.meter = Meter(time.monotonic())
        self.group = Group(settings, settings.first_number - 1, self._park)
        self._history = history
        self._store = store
        self._outbox = outbox
        self._room = asyncio.Event()
        self._readers: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.Task[None]] = set()
        self._stopped = False
        self._is_over = False
        self._is_checkpointing = False
        self._is_truncating = False
        self._parked_from = 0

    # Start and stop -----------------------------------------------------------------

    async def load(self) -> None:
        """Load the checkpoint and the parked messages."""
        name = self.settings.name
        self.parked = await self._store.load_parked(name)
        self._parked_from = self.parked.first
        self.checkpoint = await self._store.load_checkpoint(name)
        if self.checkpoint is not None:
            self.group = Group(self.settings, self.checkpoint, self._park)

    def start(self) -> None:
        """Begin reading."""
        _keep(asyncio.create_task(self._read()), self._readers)

    async def stop(self) -> None:
        """Stop reading, and wait until running writes are done."""
        self._stopped = True
        for task in self._readers:
            task.cancel()
        if tasks := self._readers | self._writers:
            await asyncio.wait(tasks)

    async def write_last_checkpoint(self) -> None:
        """Write a checkpoint if there is any progress. Raises Refusal (UNAVAILABLE)."""
        number = self.group.last_checkpoint()
        if number is not None:
            await self._store.write_checkpoint(self.settings, number)

    # Subscribers --------------------------------------------------------------------

    def drop(self) -> None:
        """Drop the subscribers; they may connect again."""
        for connection in self.connections:
            connection.end(refusals.dropped(self.settings.name))

    def connect(self, name: str, slots: int) -> SubscriberConnection:
        """Add a subscriber, under the name that the client gave its connection.

        Raises Refusal: FAILED_PRECONDITION when the group is full, CANCELLED when it has stopped.
        """
        if self._stopped:
            raise refusals.dropped(self.settings.name)
        if self.group.is_full:
            raise refusals.full(self.settings.name)
        connection = SubscriberConnection(name, slots, self._outbox)
        self.connections.append(connection)
        self.group.connect(connection.subscriber, time.monotonic())
        self._settle()
        if self._is_over:
            connection.end(refusals.dropped(self.settings.name))
        return connection

    def disconnect(self, connection: SubscriberConnection) -> None:
        """Remove a subscriber."""
        self.connections.remove(connection)
        self.group.disconnect(connection.subscriber, time.monotonic())
        self._settle()

    def ack(self, ids: Iterable[UUID]) -> None:
        """A subscriber has handled these messages."""
        self.group.ack(ids, time.monotonic())
        self._settle()

    def nack(self, ids: Iterable[UUID], nack: Nack, reason: str) -> None:
        """A subscriber could not handle these messages."""
        self.group.nack(ids, nack, reason, time.monotonic())
        self._settle()

    def tick(self) -> None:
        """Check for timeouts and a due checkpoint."""
        self.group.tick(time.monotonic())
        self._settle(timed=True)

    async def next_deliveries(self, subscriber: Subscriber) -> list[tuple[bytes, int]]:
        """The next events to send, with their retry counts; empty if all are sent."""
        deliveries: list[tuple[bytes, int]] = []
        size = 0
        while size < SEND_AT_ONCE and (unsent := subscriber.next_unsent()) is not None:
            delivery, response = unsent
            retries = delivery.message.retries
            if response is None:
                response = await self._read_again(delivery)
            if response is not None:
                deliveries.append((response, retries))
                size += len(response)
        return deliveries

    async def _read_again(self, delivery: Delivery) -> bytes | None:
        """Read an event that is not in memory. One that was scavenged counts as acked."""
        message = delivery.message
        resolve = message.replayed or self.settings.resolve_link_tos
        record = await self._store.record(message.position, resolve=resolve)
        if record is not None:
            return record.response
        self.ack([message.id])
        return None

    # Reading ------------------------------------------------------------------------

    async def _read(self) -> None:
        while True:
            try:
                await self._read_on()
            except StreamIsDeleted:
                # Tombstoned, so no more events will come.
                self.source.is_live = self._is_over = True
                self.drop()
                return
            except Exception as error:  # noqa: BLE001 - its subscribers would wait for ever
                logger.error("a persistent subscription could not read on: %s", place_of(error))
                await asyncio.sleep(READ_AGAIN_AFTER)

    async def _read_on(self) -> None:
        async for page in self.source.pages(self.group.read_to):
            for batch in self._batches(page.records):
                await self._has_room()
                await self._take(batch)
            self.group.read([], page.to, time.monotonic())
            self._settle()

    async def _take(self, batch: list[Record]) -> None:
        numbers = [self.source.number(record) for record in batch]
        if self.settings.resolve_link_tos:
            batch = await self._history.resolved(batch)
        strategy = self.settings.named_consumer_strategy
        taken = [
            conversion.to_deliver(record, number, strategy)
            for record, number in zip(batch, numbers, strict=True)
        ]
        self.last_known = numbers[-1]
        self.group.read(taken, numbers[-1], time.monotonic())
        self._settle()

    def _batches(self, records: list[Record]) -> Iterable[list[Record]]:
        size = self.group.read_at_once
        return (records[at : at + size] for at in range(0, len(records), size))

    async def _has_room(self) -> None:
        """Wait until the group wants more; at least for one iteration of the event loop."""
        await asyncio.sleep(0)
        while not self.group.wants_more:
            self._room.clear()
            await self._room.wait()

    # Parked messages ----------------------------------------------------------------

    def replay(self, stop_at: int | None) -> None:
        """Deliver the parked messages again, those before revision ``stop_at`` or all.

        Does nothing while a replay is running.
        """
        end = self.parked.end if stop_at is None else min(stop_at, self.parked.end)
        if self.is_replaying or end <= self.parked.first:
            return
        self.is_replaying = True
        replaying = self._replay(Parked(self.parked.first, end))
        _keep(asyncio.create_task(replaying), self._readers)
        self.parked.first = end

    async def _replay(self, parked: Parked) -> None:
        try:
            async for page in self._store.parked_pages(self.settings.name, parked):
                for batch in self._batches(page):
                    await self._has_room()
                    await self._take_parked(batch)
            self.group.replay([], parked.end, time.monotonic())
            self._settle()
        except StreamIsDeleted:
            logger.warning("parked messages were deleted while they were replayed")
        finally:
            self.is_replaying = False

    async def _take_parked(self, batch: Sequence[Record]) -> None:
        strategy = self.settings.named_consumer_strategy
        resolved = await self._history.resolved(list(batch))
        taken = [conversion.to_replay(record, strategy) for record in resolved]
        existing = [message for message in taken if message is not None]
        self.group.replay(existing, batch[-1].revision + 1, time.monotonic())
        self._settle()

    def _park(self, message: Message, reason: str) -> None:
        if not self._stopped:
            self._write(self._write_parked(message, reason))

    async def _write_parked(self, message: Message, reason: str) -> None:
        try:
            revision = await self._store.park(self.settings.name, message, reason)
        except Refusal as refusal:
            logger.warning("a message could not be parked: %s", refusal.details)
            self.group.not_parked(message, time.monotonic())
        else:
            self.parked.add(revision)
            self.group.parked(message)
        self._settle()

    # Progress -----------------------------------------------------------------------

    def _settle(self, *, timed: bool = False) -> None:
        """Start what the group's new state calls for: reading, a checkpoint, truncation."""
        if self._stopped:
            return
        if self.group.wants_more:
            self._room.set()
        number = self.group.due_checkpoint(time.monotonic(), timed=timed)
        if number is not None and not self._is_checkpointing:
            self._is_checkpointing = True
            self._write(self._write_checkpoint(number))
        if self.group.replayed_to > self._parked_from and not self._is_truncating:
            self._is_truncating = True
            self._write(self._truncate_parked(self.group.replayed_to))

    async def _write_checkpoint(self, number: int) -> None:
        try:
            await self._store.write_checkpoint(self.settings, number)
            self.checkpoint = number
            self.group.checkpointed(number, time.monotonic())
        except Refusal as refusal:
            logger.warning("a checkpoint could not be written: %s", refusal.details)
        finally:
            self._is_checkpointing = False

    async def _truncate_parked(self, before: int) -> None:
        try:
            await self._store.truncate_parked(self.settings.name, before)
            self._parked_from = before
        except Refusal as refusal:
            logger.warning(
                "the stream of parked messages could not be truncated: %s", refusal.details
            )
        finally:
            self._is_truncating = False

    def _write(self, writing: Coroutine[None, None, None]) -> None:
        _keep(asyncio.create_task(writing), self._writers)


def _keep(task: asyncio.Task[None], tasks: set[asyncio.Task[None]]) -> None:
    """Keep a reference to a task: the garbage collector may remove one without."""
    tasks.add(task)
    task.add_done_callback(tasks.discard)
    task.add_done_callback(_report)


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        # Without its text, which may quote what a client sent.
        logger.error("a persistent subscription has stopped: %s", place_of(error))
