"""Connections that are known to be alive when they are taken, and that are not waited for for ever.

After PostgreSQL was restarted, every connection in a pool is dead. psycopg's own check asks the
server before each use, which costs a round trip, and waits a second and more between attempts:
before it has gone through a pool of dead connections, the pool's time-out is over.
"""

from __future__ import annotations

import select
from typing import Any, Final

import psycopg
from django.db.backends.postgresql import base
from psycopg.pq import TransactionStatus
from psycopg_pool import ConnectionPool

from lepret.common.databases import longest_wait

_NOT_AT_ALL: Final = 0


class Connection(psycopg.Connection[Any]):
    """A connection that is given up when the server is silent for too long."""

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        try:
            return super().wait(gen, interval, timeout or longest_wait())
        except psycopg.OperationalError:
            if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                self.pgconn.finish()  # Its answer may still come, and would be taken for the next.
            raise


class DatabaseWrapper(base.DatabaseWrapper):
    """Django's, which takes connections from a pool and gives them back."""

    @property
    def pool(self) -> ConnectionPool[Any] | None:
        pool: ConnectionPool[Any] | None = super().pool
        if pool is not None:
            pool.connection_class = Connection
        return pool

    def get_new_connection(self, conn_params: Any) -> Any:
        while True:
            connection = super().get_new_connection(conn_params)
            pool = self.pool
            if pool is None or _is_alive(connection):
                return connection
            connection.close()
            pool.putconn(connection)  # Which makes a new one in its place.


def _is_alive(connection: psycopg.Connection[Any]) -> bool:
    """Whether the server has not ended it. Takes a few microseconds: nothing is asked.

    A server that has nothing to answer has nothing to say, but that it ends the connection, and
    then the operating system closes it.
    """
    if connection.closed:
        return False
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    if not poll.poll(_NOT_AT_ALL):
        return True
    try:
        ConnectionPool.check_connection(connection)
    except psycopg.Error:
        return False
    return True
