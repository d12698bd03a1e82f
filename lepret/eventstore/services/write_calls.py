"""The methods Append, BatchAppend, Delete and Tombstone of the Streams service."""

import asyncio
import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from esdbclient.protos.Grpc import streams_pb2

from lepret.eventstore import messages
from lepret.eventstore.rpc import (
    Call,
    Refusal,
    StatusCode,
    bad_request,
    handler_failed,
    only_request,
)
from lepret.eventstore.services import write_answers
from lepret.eventstore.storage.group_commit import GroupCommit
from lepret.eventstore.storage.stream_metadata import is_metastream, original_of
from lepret.eventstore.writes import (
    MAX_APPEND_EVENTS,
    MAX_APPEND_SIZE,
    MAX_STREAM_METADATA,
    Append,
    Delete,
    Expectation,
    Expected,
    ProposedEvent,
    Tombstone,
)

Request = streams_pb2.BatchAppendReq

MAX_UNFINISHED_BATCHES = 100
"""Batches of one BatchAppend call that may be incomplete at the same time."""

MAX_RUNNING_BATCHES = 256
"""Batches of one BatchAppend call that may wait to be written before reading pauses."""

EVENTS_AT_ONCE = 250
"""Events of a chunk that are parsed until the event loop does something else."""


class AppendTooLarge(Exception):
    """The events are larger than one append may be."""


class AppendTooLate(Exception):
    """The append's deadline has passed."""


class WriteCalls:
    """Passes clients' writes to the group commit and sends the answers."""

    def __init__(self, commit: GroupCommit) -> None:
        self._commit = commit
        self._unanswered = 0
        self._all_answered = asyncio.Event()

    async def answered(self, within: float) -> None:
        """Wait until all accepted writes are answered, for at most ``within`` seconds."""
        if self._unanswered:
            self._all_answered.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._all_answered.wait(), within)

    async def append(self, call: Call) -> None:
        """Handle one call of Append: options first, then one event per message."""
        options: streams_pb2.AppendReq.Options | None = None
        events = _Events()
        async for serialised in call.requests():
            request = messages.parse(streams_pb2.AppendReq, serialised)
            match request.WhichOneof("content"):
                case "options" if options is None:
                    options = request.options
                case "proposed_message" if options is not None:
                    _add_or_refuse(events, request.proposed_message)
                case _:
                    raise bad_request("An append must send its options first, then its events.")
        if options is None:
            raise bad_request("The append has no options.")
        append = Append(*_target(options), events.as_tuple())
        _refuse_bad_metastream(append)
        with self._answering():
            outcome = await self._commit.append(append)
            await call.send([write_answers.to_append(outcome, append)])

    async def delete(self, call: Call) -> None:
        """Handle one call of Delete."""
        request = messages.parse(streams_pb2.DeleteReq, await only_request(call))
        await self._delete(call, Delete(*_target(request.options)))

    async def tombstone(self, call: Call) -> None:
        """Handle one call of Tombstone."""
        request = messages.parse(streams_pb2.TombstoneReq, await only_request(call))
        await self._delete(call, Tombstone(*_target(request.options)))

    async def _delete(self, call: Call, write: Delete | Tombstone) -> None:
        with self._answering():
            outcome = await self._commit.append(write)
            await call.send([write_answers.to_delete(outcome, write)])

    async def batch_append(self, call: Call) -> None:
        """Handle one call of BatchAppend: many appends, each answered once it is written."""
        running: set[asyncio.Task[None]] = set()
        try:
            await self._start_batches(call, running)
        finally:
            # Batches before a bad request that ends the call are still answered.
            await asyncio.gather(*running)

    async def _start_batches(self, call: Call, running: set[asyncio.Task[None]]) -> None:
        batches: dict[bytes, _Batch] = {}
        async for serialised in call.requests():
            request = messages.parse(Request, serialised)
            batch = _batch_of(request, batches)
            await batch.add(request)
            if not request.is_final:
                continue
            del batches[batch.key]
            if not call.has_more and not running:
                # No other batch waits, so a separate task would only cost time.
                await self._finish(batch, call)
                continue
            if len(running) >= MAX_RUNNING_BATCHES:
                await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            # Tasks begin in the order in which they are created, and so batches are decided in it.
            task = asyncio.create_task(self._finish(batch, call))
            running.add(task)
            task.add_done_callback(running.discard)

    @contextlib.contextmanager
    def _answering(self) -> Iterator[None]:
        """Count a write as unanswered while the block runs."""
        self._unanswered += 1
        try:
            yield
        finally:
            self._unanswered -= 1
            if not self._unanswered:
                self._all_answered.set()

    async def _finish(self, batch: "_Batch", call: Call) -> None:
        with self._answering():
            await call.send([await self._answer(batch)])

    async def _answer(self, batch: "_Batch") -> bytes:
        """Write a batch. A refusal answers only this batch: the call goes on."""
        try:
            append = batch.append()
            outcome = await self._commit.append(append)
        except AppendTooLate:
            return write_answers.too_late(batch.first)
        except AppendTooLarge:
            return write_answers.too_large(batch.first)
        except Refusal as refusal:
            return write_answers.refused(batch.first, refusal)
        return write_answers.to_batch(batch.first, outcome, append.expected)


@dataclass(slots=True)
class _Events:
    """The events of one append so far, never more than `MAX_APPEND_SIZE`."""

    events: list[ProposedEvent] = field(default_factory=list)
    size: int = 0

    def add(self, event: ProposedEvent) -> None:
        """Raises AppendTooLarge, Refusal (INVALID_ARGUMENT)."""
        self.size += event.size
        if self.size > MAX_APPEND_SIZE:
            self.events.clear()
            raise AppendTooLarge
        if len(self.events) >= MAX_APPEND_EVENTS:
            self.events.clear()
            raise bad_request(f"An append may have {MAX_APPEND_EVENTS} events.")
        self.events.append(event)

    def as_tuple(self) -> tuple[ProposedEvent, ...]:
        return tuple(self.events)


@dataclass(slots=True)
class _Batch:
    """One append of a BatchAppend call, while its chunks arrive."""

    key: bytes
    first: Request
    """Has the correlation id and the options; its events are moved to ``events``."""
    deadline: float | None
    """As `time.monotonic` counts."""
    events: _Events = field(default_factory=_Events)
    fault: Exception | None = None

    async def add(self, request: Request) -> None:
        """Add the events of a chunk. After a fault, which `append` raises, drop them."""
        try:
            if self.fault is None:
                for number, message in enumerate(request.proposed_messages, start=1):
                    self.events.add(_proposed(message))
                    if number % EVENTS_AT_ONCE == 0:
                        await asyncio.sleep(0)
        except (AppendTooLarge, Refusal) as fault:
            self.fault = fault
            self.events = _Events()
        finally:
            request.ClearField("proposed_messages")

    def append(self) -> Append:
        """The complete append.

        Raises AppendTooLate (checked first), AppendTooLarge, Refusal (INVALID_ARGUMENT).
        """
        if self.deadline is not None and time.monotonic() >= self.deadline:
            raise AppendTooLate
        if self.fault is not None:
            raise self.fault
        options = self.first.options
        append = Append(
            messages.bounded_name(messages.stream_name(options.stream_identifier)),
            _expected(options.WhichOneof("expected_stream_position"), options.stream_position),
            self.events.as_tuple(),
            self.deadline,
        )
        _refuse_bad_metastream(append)
        return append


def _batch_of(request: Request, batches: dict[bytes, _Batch]) -> _Batch:
    key = request.correlation_id.SerializeToString()
    batch = batches.get(key)
    if batch is not None:
        return batch
    if len(batches) >= MAX_UNFINISHED_BATCHES:
        raise Refusal(StatusCode.RESOURCE_EXHAUSTED, "Too many batches wait for their last chunk.")
    batch = batches[key] = _Batch(key, request, _deadline(request.options))
    return batch


def _add_or_refuse(events: _Events, message: streams_pb2.AppendReq.ProposedMessage) -> None:
    try:
        events.add(_proposed(message))
    except AppendTooLarge:
        raise write_answers.too_large_refusal() from None


def _proposed(
    message: streams_pb2.AppendReq.ProposedMessage | Request.ProposedMessage,
) -> ProposedEvent:
    event_type = messages.bounded_name(_required(message.metadata, "type"))
    content_type = _required(message.metadata, "content-type")
    if not event_type:
        raise handler_failed("The event's type is missing.")
    return ProposedEvent(
        id=messages.uuid(message.id),
        type=event_type,
        is_json=content_type == messages.JSON,
        data=message.data,
        metadata=message.custom_metadata,
    )


def _required(metadata: Mapping[str, str], key: str) -> str:
    value = metadata.get(key)
    if value is None:
        raise write_answers.missing_property_refusal(key)
    return value


def _target(
    options: streams_pb2.AppendReq.Options
    | streams_pb2.DeleteReq.Options
    | streams_pb2.TombstoneReq.Options,
) -> tuple[str, Expected]:
    """The stream to write to, and what the client expects of it."""
    return (
        messages.bounded_name(messages.stream_name(options.stream_identifier)),
        _expected(options.WhichOneof("expected_stream_revision"), options.revision),
    )


def _refuse_bad_metastream(append: Append) -> None:
    """Raises Refusal: INVALID_ARGUMENT for large metadata, UNKNOWN without a stream's name."""
    if not is_metastream(append.stream):
        return
    if not original_of(append.stream):
        raise handler_failed("The stream name is missing.")
    if any(len(event.data) > MAX_STREAM_METADATA for event in append.events):
        raise bad_request(f"A stream's metadata may have {MAX_STREAM_METADATA} bytes.")


def _expected(kind: str | None, revision: int) -> Expected:
    match kind:
        case "revision" | "stream_position":
            return messages.bounded_number(revision)
        case None:
            raise bad_request("The expected revision is missing.")
        case _:
            return Expectation(kind)


def _deadline(options: Request.Options) -> float | None:
    """When the append is too late, as `time.monotonic` counts."""
    match options.WhichOneof("deadline_option"):
        case "deadline":
            return time.monotonic() + options.deadline.seconds + options.deadline.nanos / 1e9
        case "deadline_21_10_0":
            left = options.deadline_21_10_0.seconds - time.time()
            return time.monotonic() + left + options.deadline_21_10_0.nanos / 1e9
        case _:
            return None
