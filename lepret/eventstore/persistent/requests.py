"""Parses the requests of persistent subscriptions.
All functions raise Refusal (INVALID_ARGUMENT) for invalid requests.
"""

from collections.abc import Awaitable, Callable, Iterable
from uuid import UUID

from esdbclient.protos.Grpc import persistent_pb2, shared_pb2
from pydantic import ValidationError

from lepret.eventstore import messages
from lepret.eventstore.persistent.group import Nack
from lepret.eventstore.persistent.settings import (
    ALL,
    END,
    FilterContext,
    FilterSettings,
    GroupName,
    GroupSettings,
)
from lepret.eventstore.rpc import bad_request
from lepret.eventstore.storage import filters
from lepret.eventstore.storage.log import MAX_REVISION

CreateOrUpdate = persistent_pb2.CreateReq | persistent_pb2.UpdateReq
NextNumber = Callable[[str], Awaitable[int]]

_Filter = persistent_pb2.CreateReq.AllOptions.FilterOptions
_Named = (
    persistent_pb2.ReadReq.Options
    | persistent_pb2.DeleteReq.Options
    | persistent_pb2.GetInfoReq.Options
    | persistent_pb2.ReplayParkedReq.Options
)
_Nack = persistent_pb2.ReadReq.Nack
_NACKS = {
    _Nack.Unknown: Nack.RETRY,
    _Nack.Park: Nack.PARK,
    _Nack.Retry: Nack.RETRY,
    _Nack.Skip: Nack.SKIP,
    # EventStoreDB does not stop the subscription either.
    _Nack.Stop: Nack.SKIP,
}
_STRATEGIES: dict[int, str] = {
    number: name for name, number in persistent_pb2.CreateReq.ConsumerStrategy.items()
}
_TICKS_PER_MILLISECOND = 10_000

MAX_SLOTS = 10_000
"""Unanswered messages of one subscriber, which stay in memory."""


def group_name(options: _Named) -> GroupName:
    """The group that a request names."""
    match options.WhichOneof("stream_option"):
        case "all":
            return _name(ALL, options.group_name)
        case "stream_identifier":
            return _name(messages.stream_name(options.stream_identifier), options.group_name)
        case _:
            raise bad_request("A persistent subscription is to a stream or to $all.")


def listed_stream(options: persistent_pb2.ListReq.Options) -> str | None:
    """The stream, or `$all`, whose groups to list; None for all groups."""
    match options.WhichOneof("list_option"):
        case "list_all_subscriptions":
            return None
        case "list_for_stream" if options.list_for_stream.HasField("all"):
            return ALL
        case "list_for_stream":
            return messages.stream_name(options.list_for_stream.stream)
        case _:
            raise bad_request("A list request must name a stream or $all, or ask for all groups.")


def stop_at(options: persistent_pb2.ReplayParkedReq.Options) -> int | None:
    """The revision in the parked stream before which a replay stops; None to replay all."""
    match options.WhichOneof("stop_at_option"):
        case "stop_at":
            return options.stop_at
        case "no_limit":
            return None
        case _:
            raise bad_request("A replay needs a revision to stop at, or no limit.")


def buffer_size(options: persistent_pb2.ReadReq.Options) -> int:
    """The number of unanswered messages that a subscriber gets, however many more it accepts."""
    if options.buffer_size < 1:
        raise bad_request("A subscriber's buffer size must be at least 1.")
    return min(options.buffer_size, MAX_SLOTS)


def ids(values: Iterable[shared_pb2.UUID]) -> list[UUID]:
    """The messages that a subscriber answers."""
    return [messages.uuid(value) for value in values]


def nack(request: persistent_pb2.ReadReq.Nack) -> Nack:
    """What to do with messages that a subscriber could not handle."""
    action = _NACKS.get(request.action)
    if action is None:
        raise bad_request("The action of the nack is unknown.")
    return action


async def settings(request: CreateOrUpdate, next_number: NextNumber) -> GroupSettings:
    """The settings of a new or updated group; ``next_number`` finds the end of a stream."""
    options = request.options
    wanted = options.settings
    stream, start = _start(options)
    try:
        return GroupSettings(
            stream=messages.bounded_name(stream),
            group=messages.bounded_name(options.group_name),
            filter=_filter(request) if stream == ALL else None,
            start_from=start,
            first_number=await next_number(stream) if start == END else start,
            resolve_link_tos=wanted.resolve_links,
            extra_statistics=wanted.extra_statistics,
            message_timeout=_milliseconds(
                wanted.WhichOneof("message_timeout"),
                wanted.message_timeout_ms,
                wanted.message_timeout_ticks,
            ),
            max_retry_count=wanted.max_retry_count,
            check_point_after=_milliseconds(
                wanted.WhichOneof("checkpoint_after"),
                wanted.checkpoint_after_ms,
                wanted.checkpoint_after_ticks,
            ),
            min_check_point_count=wanted.min_checkpoint_count,
            max_check_point_count=wanted.max_checkpoint_count,
            max_subscriber_count=wanted.max_subscriber_count,
            live_buffer_size=wanted.live_buffer_size,
            read_batch_size=wanted.read_batch_size,
            history_buffer_size=wanted.history_buffer_size,
            named_consumer_strategy=_strategy(request),
        )
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise bad_request(f"{first['loc'][0]}: {first['msg']}.") from None


def _name(stream: str, group: str) -> GroupName:
    if not group:
        raise bad_request("The name of the group is missing.")
    return GroupName(stream, group)


def _start(
    options: persistent_pb2.CreateReq.Options | persistent_pb2.UpdateReq.Options,
) -> tuple[str, int]:
    """The stream, or `$all`, and the number of the first event, or END."""
    match options.WhichOneof("stream_option"):
        case "all":
            return ALL, _start_of_all(options.all)
        case "stream":
            stream = _proper_stream(options.stream.stream_identifier)
            return stream, _start_of_stream(options.stream)
        case _:
            # Clients of old versions name the stream beside the options.
            stream = _proper_stream(options.stream_identifier)
            return stream, _bounded(options.settings.revision)


def _proper_stream(identifier: shared_pb2.StreamIdentifier) -> str:
    stream = messages.stream_name(identifier)
    if stream == ALL:
        raise bad_request("$all is not a stream: use the option for it.")
    return stream


def _start_of_all(
    options: persistent_pb2.CreateReq.AllOptions | persistent_pb2.UpdateReq.AllOptions,
) -> int:
    match options.WhichOneof("all_option"):
        case "position":
            return _bounded(options.position.commit_position)
        case "start":
            return 0
        case "end":
            return END
        case _:
            raise bad_request("A persistent subscription to $all needs a start.")


def _start_of_stream(
    options: persistent_pb2.CreateReq.StreamOptions | persistent_pb2.UpdateReq.StreamOptions,
) -> int:
    match options.WhichOneof("revision_option"):
        case "revision":
            return _bounded(options.revision)
        case "start":
            return 0
        case "end":
            return END
        case _:
            raise bad_request("A persistent subscription to a stream needs a start.")


def _bounded(number: int) -> int:
    """The number if the log can store it; larger ones mean the end."""
    return END if number > MAX_REVISION else number


def _milliseconds(unit: str | None, milliseconds: int, ticks: int) -> int:
    if unit is not None and unit.endswith("_ticks"):
        return ticks // _TICKS_PER_MILLISECOND
    return milliseconds


def _strategy(request: CreateOrUpdate) -> str:
    wanted = request.options.settings
    if isinstance(wanted, persistent_pb2.CreateReq.Settings) and wanted.consumer_strategy:
        return wanted.consumer_strategy
    name = _STRATEGIES.get(wanted.named_consumer_strategy)
    if name is None:
        raise bad_request("The consumer strategy is unknown.")
    return name


def _filter(request: CreateOrUpdate) -> FilterSettings | None:
    """The filter of a new group; an update cannot change it."""
    if not isinstance(request, persistent_pb2.CreateReq):
        return None
    options = request.options.all
    if options.WhichOneof("filter_option") != "filter":
        return None
    match options.filter.WhichOneof("filter"):
        case "event_type":
            return _valid_filter(FilterContext.EVENT_TYPE, options.filter.event_type)
        case "stream_identifier":
            return _valid_filter(FilterContext.STREAM_NAME, options.filter.stream_identifier)
        case _:
            raise bad_request("A filter needs an event type or a stream name.")


def _valid_filter(context: FilterContext, expression: _Filter.Expression) -> FilterSettings:
    wanted = FilterSettings(
        context=context, prefixes=tuple(expression.prefix), regex=expression.regex
    )
    try:
        wanted.build()
    except ValueError as error:
        raise filters.refusal(error) from None
    return wanted
