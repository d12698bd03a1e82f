"""The settings and statistics of a group, for the answers of GetInfo and List."""

import time
from collections.abc import Sequence

from esdbclient.protos.Grpc import persistent_pb2

from lepret.eventstore.persistent.running_group import RunningGroup, SubscriberConnection
from lepret.eventstore.persistent.settings import GroupSettings

_Info = persistent_pb2.SubscriptionInfo

_USERNAME = "system"
"""EventStoreDB's name for all clients when it does not authenticate them."""

_PERCENTILES = (90, 95, 99, 99.5, 99.9)


def subscription_info(running: RunningGroup) -> _Info:
    """The settings and statistics of a group; rates count from the last request."""
    now = time.monotonic()
    info = _settings(running.settings)
    growth = running.meter.measure(running.group.handed_out, now)
    info.status = _status(running)
    info.total_items = running.group.handed_out
    info.count_since_last_measurement = growth.items
    info.average_per_second = growth.per_second
    info.last_checkpointed_event_position = _number(running, running.checkpoint)
    info.last_known_event_position = _number(running, running.last_known)
    info.read_buffer_count = running.group.waiting.new_count
    info.retry_buffer_count = running.group.waiting.retry_count
    info.outstanding_messages_count = len(running.group.in_flight)
    info.total_in_flight_messages = len(running.group.in_flight)
    info.parked_message_count = running.parked.count
    extra_statistics = running.settings.extra_statistics
    info.connections.extend(
        _connection(connection, now, extra_statistics=extra_statistics)
        for connection in running.connections
    )
    return info


def _settings(settings: GroupSettings) -> _Info:
    return _Info(
        event_source=settings.stream,
        group_name=settings.group,
        resolve_link_tos=settings.resolve_link_tos,
        start_from=settings.number_text(settings.start_from),
        message_timeout_milliseconds=settings.message_timeout,
        extra_statistics=settings.extra_statistics,
        max_retry_count=settings.max_retry_count,
        live_buffer_size=settings.live_buffer_size,
        buffer_size=settings.history_buffer_size,
        read_batch_size=settings.read_batch_size,
        check_point_after_milliseconds=settings.check_point_after,
        min_check_point_count=settings.min_check_point_count,
        max_check_point_count=settings.max_check_point_count,
        named_consumer_strategy=settings.named_consumer_strategy,
        max_subscriber_count=settings.max_subscriber_count,
    )


def _status(running: RunningGroup) -> str:
    """The flags that are set, as EventStoreDB prints them."""
    flags = (
        ("Behind", not running.source.is_live),
        ("ReplayingParkedMessages", running.is_replaying),
        ("Live", running.source.is_live),
    )
    return ", ".join(flag for flag, is_set in flags if is_set)


def _number(running: RunningGroup, number: int | None) -> str:
    return "" if number is None else running.settings.number_text(number)


def _connection(
    connection: SubscriberConnection, now: float, *, extra_statistics: bool
) -> _Info.ConnectionInfo:
    subscriber = connection.subscriber
    growth = connection.meter.measure(subscriber.received, now)
    return _Info.ConnectionInfo(
        username=_USERNAME,
        connection_name=connection.name or "<unknown>",
        average_items_per_second=growth.per_second,
        total_items=subscriber.received,
        count_since_last_measurement=growth.items,
        available_slots=subscriber.free_slots,
        in_flight_messages=len(subscriber.in_flight),
        observed_measurements=_answer_times(subscriber.answer_times) if extra_statistics else (),
    )


def _answer_times(seconds: Sequence[float]) -> list[_Info.Measurement]:
    """Statistics of answer times, in milliseconds, by EventStoreDB's names."""
    if not seconds:
        return []
    times = sorted(int(1000 * each) for each in seconds)
    figures = {
        "Mean": sum(times) // len(times),
        "Median": times[len(times) // 2],
        "Fastest": times[0],
        **{f"Quintile {n + 1}": _percentile(times, n / 5) for n in range(5)},
        **{f"{percent:g}%": _percentile(times, percent / 100) for percent in _PERCENTILES},
        "Highest": times[-1],
    }
    return [_Info.Measurement(key=key, value=value) for key, value in figures.items()]


def _percentile(times: Sequence[int], share: float) -> int:
    return times[min(int(share * len(times)), len(times) - 1)]
