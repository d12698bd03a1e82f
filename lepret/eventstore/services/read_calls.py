"""The method Read of the Streams service: finite reads and catch-up subscriptions."""

import asyncio
import uuid
from collections.abc import AsyncIterator

from esdbclient.protos.Grpc import streams_pb2

from lepret.eventstore import messages
from lepret.eventstore.rpc import Call, Refusal, StatusCode, bad_request, only_request
from lepret.eventstore.services import write_answers
from lepret.eventstore.services.catch_up_subscriptions import (
    Resolve,
    Search,
    follow_all,
    follow_stream,
    unresolved,
)
from lepret.eventstore.storage import filters
from lepret.eventstore.storage.history import History
from lepret.eventstore.storage.log import MAX_REVISION
from lepret.eventstore.storage.records import Record
from lepret.eventstore.storage.stream_state import StreamIsDeleted
from lepret.eventstore.storage.tail import Tail

Options = streams_pb2.ReadReq.Options
Pages = AsyncIterator[list[Record]]

_DEFAULT_WINDOW = 32
"""Events searched per window if the client does not choose the window."""


class ReadCalls:
    """Answers finite reads from the history, and subscriptions from history and tail."""

    def __init__(self, history: History, tail: Tail) -> None:
        self._history = history
        self._tail = tail

    async def read(self, call: Call) -> None:
        """Handle one call of Read."""
        options = messages.parse(streams_pb2.ReadReq, await only_request(call)).options
        try:
            await self._read(call, options)
        except StreamIsDeleted as error:
            raise write_answers.stream_deleted_refusal(error.stream) from None

    async def _read(self, call: Call, options: Options) -> None:
        if options.WhichOneof("count_option") == "count":
            await self._read_once(call, options)
        elif options.WhichOneof("count_option") == "subscription":
            await self._subscribe(call, options)
        else:
            raise bad_request("A read must have a count or be a subscription.")

    # Finite reads -------------------------------------------------------------------

    async def _read_once(self, call: Call, options: Options) -> None:
        encode = _encoding(options)
        resolve = self._resolve(options)
        if not options.count:
            await _read_nothing(options)
        pages = await self._pages(call, options)
        if pages is None:
            return
        remaining = options.count
        while remaining and (page := await anext(pages, None)) is not None:
            records = page[:remaining]
            remaining -= len(records)
            if records:
                await call.send(encode([record.response for record in await resolve(records)]))

    def _resolve(self, options: Options) -> Resolve:
        return self._history.resolved if options.resolve_links else unresolved

    async def _pages(self, call: Call, options: Options) -> Pages | None:
        """The pages to send; None after an answer that the stream was not found."""
        if options.WhichOneof("stream_option") == "all":
            return self._pages_of_all(options)
        if options.WhichOneof("filter_option") == "filter":
            raise bad_request("Only $all can be read with a filter.")
        stream = _stream(options)
        pages = self._pages_of_stream(stream, options)
        if self._history.stream_exists(stream):
            return pages
        await call.send([messages.stream_not_found(stream)])
        return None

    def _pages_of_all(self, options: Options) -> Pages:
        """Pages of `$all` as it is now, without later appends and what the filter leaves out."""
        head = self._tail.head
        start = _position(options, end=head + 1)
        keep = _filter(options)
        if options.read_direction == Options.Backwards:
            if start > head + 1:
                raise Refusal(StatusCode.UNKNOWN, "Unexpected ReadAllResult: InvalidPosition")
            return self._history.all_backwards(start, keep)
        return self._history.all_forwards(start, head, keep)

    def _pages_of_stream(self, stream: str, options: Options) -> Pages:
        """Pages of a stream as it is now, without later appends."""
        head = self._tail.head
        start = _revision(options, end=MAX_REVISION)
        if options.read_direction == Options.Backwards:
            return self._history.stream_backwards(stream, start, head)
        return self._history.stream_forwards(stream, start, head)

    # Subscriptions ------------------------------------------------------------------

    async def _subscribe(self, call: Call, options: Options) -> None:
        if options.read_direction == Options.Backwards:
            raise bad_request("A subscription cannot read backwards.")
        encode = _encoding(options)
        following = await self._following(options)
        await call.send([messages.confirmation(str(uuid.uuid4()))])
        async for batch in following:
            await call.send(encode(batch))

    async def _following(self, options: Options) -> AsyncIterator[list[bytes]]:
        """The subscription's messages. Its start is fixed here, before it is confirmed."""
        resolve = self._resolve(options)
        if options.WhichOneof("stream_option") == "all":
            after = _position(options, end=self._tail.head, start=-1)
            search = Search(_filter(options), _checkpoint_window(options))
            return follow_all(self._history, self._tail, after, search, resolve)
        if options.WhichOneof("filter_option") == "filter":
            raise bad_request("Only $all can be subscribed to with a filter.")
        stream = _stream(options)
        # A tombstoned stream is refused before the subscription is confirmed.
        self._history.stream_exists(stream)
        next_revision = await self._next_revision(stream, options)
        return follow_stream(self._history, self._tail, stream, next_revision, resolve)

    async def _next_revision(self, stream: str, options: Options) -> int:
        if options.stream.WhichOneof("revision_option") != "end" and (
            options.stream.revision != messages.END_NUMBER
        ):
            return _revision(options, end=0, start=-1) + 1
        newest = self._history.stream_backwards(stream, MAX_REVISION, self._tail.head)
        page = await anext(newest, None)
        return page[0].revision + 1 if page else 0


def _encoding(options: Options) -> messages.Encoding:
    if options.uuid_option.WhichOneof("content") == "structured":
        return messages.with_structured_ids
    return messages.as_stored


def _stream(options: Options) -> str:
    if options.WhichOneof("stream_option") != "stream":
        raise bad_request("A read must name a stream or $all.")
    return messages.stream_name(options.stream.stream_identifier)


def _position(options: Options, *, end: int, start: int = 0) -> int:
    """The position in `$all` where a read starts."""
    match options.all.WhichOneof("all_option"):
        case "position":
            return _number(options.all.position.commit_position, end)
        case "start":
            return start
        case "end":
            return end
        case _:
            raise bad_request("A read of $all needs a start.")


def _revision(options: Options, *, end: int, start: int = 0) -> int:
    """The revision at which a read of a stream starts."""
    match options.stream.WhichOneof("revision_option"):
        case "revision":
            return _number(options.stream.revision, end)
        case "start":
            return start
        case "end":
            return end
        case _:
            raise bad_request("A read of a stream needs a start.")


def _number(number: int, end: int) -> int:
    """Raises Refusal (UNKNOWN) for a number that is too large, unless it means the end."""
    return end if number == messages.END_NUMBER else messages.bounded_number(number)


async def _read_nothing(options: Options) -> None:
    """Answer a read of no events as EventStoreDB does: one of `$all` never ends.

    Raises Refusal (UNKNOWN; INVALID_ARGUMENT for a bad filter).
    """
    if options.WhichOneof("stream_option") != "all":
        raise Refusal(StatusCode.UNKNOWN, "Unexpected ReadStreamResult: Error")
    _filter(options)
    await asyncio.Event().wait()


def _filter(options: Options) -> filters.Filter:
    """Which events of `$all` to send. Raises Refusal (INVALID_ARGUMENT, UNKNOWN)."""
    return filters.in_all(_requested_filter(options))


def _requested_filter(options: Options) -> filters.Filter:
    """The filter in the request. Raises Refusal (INVALID_ARGUMENT, UNKNOWN)."""
    if options.WhichOneof("filter_option") != "filter":
        return filters.everything
    match options.filter.WhichOneof("filter"):
        case "event_type":
            return filters.by_type(_matches(options.filter.event_type))
        case "stream_identifier":
            return filters.by_stream(_matches(options.filter.stream_identifier))
        case _:
            raise bad_request("A filter needs an event type or a stream name.")


def _matches(expression: Options.FilterOptions.Expression) -> filters.Matches:
    try:
        if expression.regex:
            return filters.by_regex(expression.regex)
        return filters.by_prefix(expression.prefix)
    except ValueError as error:
        raise filters.refusal(error) from None


def _checkpoint_window(options: Options) -> int | None:
    """Events to search between checkpoints. Raises Refusal (INVALID_ARGUMENT)."""
    if options.WhichOneof("filter_option") != "filter":
        return None
    size = _DEFAULT_WINDOW
    if options.filter.WhichOneof("window") == "max":
        size = options.filter.max
    window = size * options.filter.checkpointIntervalMultiplier
    if not window:
        raise bad_request("A filter's window and checkpoint interval must be at least 1.")
    return window
