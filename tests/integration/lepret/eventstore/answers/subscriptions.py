"""The commands of a step that subscribe, to streams and to groups."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import grpc
from esdbclient import EventStoreDBClient, RecordedEvent
from esdbclient.persistent import SubscriptionInfo
from esdbclient.protos.Grpc import persistent_pb2
from esdbclient.protos.Grpc.persistent_pb2_grpc import PersistentSubscriptionsStub

from tests.integration.lepret.eventstore.answers.streams import Streams
from tests.integration.lepret.eventstore.answers.tap import Item, Tap
from tests.integration.lepret.eventstore.answers.telling import Position
from tests.support.processes import PATIENCE, wait_until

_MANY = 100
_SETTINGS = (
    "event_source", "group_name", "resolve_links", "start_from", "message_timeout",
    "extra_statistics", "max_retry_count", "live_buffer_size", "history_buffer_size",
    "read_batch_size", "checkpoint_after", "min_checkpoint_count", "max_checkpoint_count",
    "consumer_strategy", "max_subscriber_count", "parked_message_count",
)  # fmt: skip


class Subscriptions(Streams):
    """A step's subscriptions: commands act on the one that was opened last."""

    def __init__(self, client: EventStoreDBClient) -> None:
        super().__init__(client)
        self._taps: list[Tap] = []

    def subscribe(self, **options: str) -> None:
        self._open(self._client.subscribe_to_stream, self._stream, **self._options(options))

    def subscribe_all(self, **options: str) -> None:
        self._open(self._client.subscribe_to_all, **self._filtered(options))

    def close(self) -> None:
        self._taps.pop().close()

    def take(self, count: str) -> list[Item | str] | dict[str, object]:
        """So many items; of very many, only whether they are all there and in order."""
        got: list[Item | str] = [*self._noted(self._taps[-1].take(int(count)))]
        if len(got) < _MANY:
            return got
        revisions = [item.stream_position for item in got if isinstance(item, RecordedEvent)]
        return {"count": len(got), "in order": revisions == list(range(len(got)))}

    def rest(self, quiet: str = "0") -> list[Item]:
        """What comes until nothing has for a while."""
        expected = len(self._expected) if isinstance(self._expected, list) else 0
        return self._noted(self._taps[-1].rest(expected, float(quiet)))

    def checkpoints(self) -> dict[str, object]:
        """What is known of the checkpoints so far; the last can be used as @checkpoint."""
        tap = self._taps[-1]
        self._positions.update(checkpoint=tap.checkpoints[-1] if tap.checkpoints else 0)
        return {
            "some": bool(tap.checkpoints),
            "rising": tap.checkpoints == sorted(tap.checkpoints),
            "behind an event": tap.checkpoints_behind,
        }

    def _open(self, method: Callable[..., Any], *args: object, **options: object) -> None:
        self._taps.append(Tap(self._own, lambda: method(*args, **options)))

    def _noted(self, items: list[Item]) -> list[Item]:
        self._learned(item for item in items if isinstance(item, RecordedEvent) and item.id)
        return items


class Groups(Subscriptions):
    """A step's group: on its stream or, after `group_all`, on all of its streams."""

    def __init__(self, client: EventStoreDBClient, stub: PersistentSubscriptionsStub) -> None:
        super().__init__(client)
        self._stub = stub
        self._on_all = False

    @property
    def _group(self) -> tuple[str, ...]:
        return (self._own,) if self._on_all else (self._own, self._stream)

    def group(self, **settings: str) -> None:
        self._client.create_subscription_to_stream(*self._group, **self._options(settings))

    def group_all(self, **settings: str) -> None:
        self._on_all = True
        self._client.create_subscription_to_all(*self._group, **self._filtered(settings))

    def regroup(self, **settings: str) -> None:
        update = (
            self._client.update_subscription_to_all
            if self._on_all
            else self._client.update_subscription_to_stream
        )
        update(*self._group, **self._options(settings))

    def ungroup(self) -> None:
        self._client.delete_subscription(*self._group, timeout=PATIENCE)

    def replay(self) -> None:
        self._client.replay_parked_events(*self._group, timeout=PATIENCE)

    def info(self) -> dict[str, object]:
        """The settings."""
        info = self._info()
        told = {name: getattr(info, name) for name in _SETTINGS}
        position = info.start_from.removeprefix("C:").partition("/")[0]
        if position != info.start_from and position.isdigit():
            told["start_from"] = Position(int(position))
        return told

    def groups(self) -> dict[str, int]:
        """How many groups there are of the step's name, and on its stream."""
        groups = self._client.list_subscriptions(timeout=PATIENCE)
        return {
            "ours": sum(group.group_name == self._own for group in groups),
            "on the stream": len(
                self._client.list_subscriptions_to_stream(self._stream, timeout=PATIENCE)
            ),
        }

    def parked(self, count: str) -> int:
        """Wait until so many messages are parked."""
        wait_until(lambda: self._info().parked_message_count == int(count))
        return int(count)

    # Consumers ----------------------------------------------------------------------

    def open(self, **options: str) -> None:
        """Consume the group."""
        read = (
            self._client.read_subscription_to_all
            if self._on_all
            else self._client.read_subscription_to_stream
        )
        self._open(read, *self._group, max_ack_delay=0.05, **self._options(options))

    def close(self) -> None:
        """Close what was opened last; returns when the group has noticed, too."""
        super().close()
        wait_until(lambda: self._consumers() <= len(self._taps))

    def ack(self, letters: str) -> None:
        self._settle(letters, "ack")

    def nack(self, action: str, letters: str) -> None:
        self._settle(letters, "nack", action)

    def share(self, count: str) -> list[list[object]]:
        """What each of several consumers gets, until it is so many in all."""
        shares = self._shares(int(count))
        told = [[self._telling.told(item) for item in share] for share in shares]
        return sorted(told, key=str)

    def pinned(self, streams: str) -> dict[str, int]:
        """Append three events to each of so many streams: does one consumer get all of a stream?"""
        for letter, number in itertools.product("abc", range(int(streams))):
            self.on(str(number))
            self.append(letter)
        shares = self._shares(3 * int(streams))
        names = [{item.stream_name for item in share} for share in shares]
        return {
            "events": sum(map(len, shares)),
            "streams": len(set.union(*names)),
            "with both": len(set.intersection(*names)),
        }

    def _shares(self, count: int) -> list[list[RecordedEvent]]:
        shares: list[list[RecordedEvent]] = [[] for _ in self._taps]

        def are_complete() -> bool:
            for tap, share in zip(self._taps, shares, strict=True):
                share += [e for e in tap.rest(0) if isinstance(e, RecordedEvent)]
            return sum(map(len, shares)) >= count

        wait_until(are_complete)
        return shares

    def _settle(self, letters: str, answer: str, *action: str) -> None:
        """Answer the last delivery of each event, or of its link; or else a mere id."""
        tap = self._taps[-1]
        seen = {
            self._telling.letters.get(recorded.id): event
            for event in tap.seen
            for recorded in (event, event.link)
            if recorded is not None
        }
        for letter in letters:
            message = seen.get(letter)
            getattr(tap.subscription, answer)(message or self._event(letter).id, *action)

    def _consumers(self) -> int:
        """How many the group has; none if there is no group."""
        options = persistent_pb2.GetInfoReq.Options(group_name=self._own)
        if self._on_all:
            options.all.SetInParent()
        else:
            options.stream_identifier.stream_name = self._stream.encode()
        try:
            found = self._stub.GetInfo(persistent_pb2.GetInfoReq(options=options), timeout=PATIENCE)
        except grpc.RpcError:
            return 0
        return len(found.subscription_info.connections)

    def _info(self) -> SubscriptionInfo:
        return self._client.get_subscription_info(*self._group, timeout=PATIENCE)
