"""Receives what projectors send to their channel-layer groups through a real Valkey."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

import msgpack  # type: ignore[import-untyped]
from redis import Redis
from redis.client import PubSub

from tests.support.processes import PATIENCE, wait_until

# Stands between a channel layer's prefix and the name of a group.
_GROUP: Final = "__group__"


@dataclass(frozen=True)
class Heard:
    """A message to a group; `teller` is the prefix of the channel layer that sent it."""

    teller: str
    group: str
    message: dict[str, Any]


class Listener:
    """Keeps every message to every group, in the order of Valkey."""

    def __init__(self, url: str) -> None:
        self._redis = Redis.from_url(url, socket_timeout=PATIENCE)
        self._subscription = PubSub(self._redis.connection_pool)
        self._subscription.psubscribe(f"*{_GROUP}*")
        self._heard: list[Heard] = []
        self._thread = threading.Thread(target=self._listen, name="listener", daemon=True)
        self._is_closed = threading.Event()

    def start(self) -> None:
        """Start, and wait until Valkey has confirmed the subscription."""
        assert self._subscription.get_message(timeout=PATIENCE)
        self._thread.start()

    def all(self) -> list[Heard]:
        """All messages that were sent until now."""
        mark = Heard("mark", str(uuid4()), {})
        self._redis.publish(f"{mark.teller}{_GROUP}{mark.group}", msgpack.packb(mark.message))
        wait_until(lambda: mark in self._heard)
        return [each for each in self._heard if each.teller != mark.teller]

    def close(self) -> None:
        """Unsubscribe."""
        self._is_closed.set()
        self._thread.join(PATIENCE)
        self._subscription.close()
        self._redis.close()

    def _listen(self) -> None:
        while not self._is_closed.is_set():
            message = self._subscription.get_message(timeout=0.1)
            if message is not None:
                teller, _, group = message["channel"].decode().partition(_GROUP)
                self._heard.append(Heard(teller, group, msgpack.unpackb(message["data"])))


@contextmanager
def listening(url: str) -> Iterator[Listener]:
    """Receive all messages while the block runs."""
    listener = Listener(url)
    listener.start()
    try:
        yield listener
    finally:
        listener.close()
