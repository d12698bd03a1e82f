"""Reads something for callers who cannot wait long: a scrape, a load balancer's health check."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

from django.db import connections

Read = TypeVar("Read")


class SharedReader(Generic[Read]):
    """Reads in a thread, so that a caller waits no longer than its timeout.

    There is at most one read at a time: callers that come meanwhile share its result.
    """

    def __init__(self, read: Callable[[], Read]) -> None:
        self._read = read
        self._lock = threading.Lock()
        self._reading: Future[Read] | None = None

    def read(self, *, timeout: float) -> Read:
        """What was read; `timeout` in seconds. What the reading raises, this raises too.

        Raises:
            TimeoutError: there was no answer in time.
        """
        return self._current_reading().result(timeout)

    def _current_reading(self) -> Future[Read]:
        with self._lock:
            if self._reading is None or self._reading.done():
                self._reading = Future()
                threading.Thread(
                    target=self._read_into, args=(self._reading,), name="reader", daemon=True
                ).start()
            return self._reading

    def _read_into(self, reading: Future[Read]) -> None:
        try:
            result = self._read()
        except Exception as error:  # noqa: BLE001 (handed over to the callers)
            reading.set_exception(error)
        else:
            reading.set_result(result)
        finally:
            connections.close_all()
