"""What time it is at the database, which all web servers share."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from django.db import connection
from django.utils import timezone

from lepret.common.other_clocks import OtherClock

_clock: Final = OtherClock()


def database_time() -> datetime:
    """The time by the database's clock, to compare with what other servers wrote by it.

    Asks PostgreSQL once a minute. SQLite has no clock of its own.

    Raises:
        django.db.Error: the database is away.
    """
    if connection.vendor != "postgresql":
        return timezone.now()
    if not _clock.is_fresh:
        with connection.cursor() as cursor:
            cursor.execute("SELECT clock_timestamp()")
            _clock.hear(cursor.fetchone()[0])
    return _clock.now()
