"""Reads statuses for callers who cannot wait long: a scrape, a load balancer's health check."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import Future

from django.db import connections

from readmodels.monitoring.status import ProjectionStatus, read_statuses

Statuses = Mapping[str, ProjectionStatus]


class StatusReader:
    """Reads in a thread, so that a caller waits no longer than its timeout.

    There is at most one read at a time: callers that come meanwhile share its result.
    """

    def __init__(self, *, count_up_to: int) -> None:
        self._count_up_to = count_up_to
        self._lock = threading.Lock()
        self._reading: Future[Statuses] | None = None

    def read(self, *, timeout: float) -> Statuses:
        """The status of each projection by its name; `timeout` in seconds.

        Raises:
            TimeoutError: there was no answer in time.
            OperationalError, InterfaceError: the database is away.
        """
        return self._current_reading().result(timeout)

    def _current_reading(self) -> Future[Statuses]:
        with self._lock:
            if self._reading is None or self._reading.done():
                self._reading = Future()
                threading.Thread(
                    target=self._read_into, args=(self._reading,), name="statuses", daemon=True
                ).start()
            return self._reading

    def _read_into(self, reading: Future[Statuses]) -> None:
        try:
            statuses = read_statuses(count_up_to=self._count_up_to)
        except Exception as error:  # noqa: BLE001 (handed over to the callers)
            reading.set_exception(error)
        else:
            reading.set_result(statuses)
        finally:
            connections.close_all()
