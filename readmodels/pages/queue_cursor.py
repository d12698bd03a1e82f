"""Where a page of the underwriters' queue ended, so that the next one begins after it.

A place among the requests and not a number of them, so that what comes and goes in between makes no
page show one twice or leave one out.
"""

from __future__ import annotations

import re
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from readmodels.models import Place

PATTERN: Final = "[A-Za-z0-9_-]{32}"

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
# Microseconds since 1970 and a UUID: 24 bytes, so that there is nothing to pad.
_PLACE: Final = struct.Struct(">q16s")


class NoCursor(Exception):
    """No page of the queue ends there."""


def cursor_at(place: Place) -> str:
    """The cursor of the page that ends with a request at this place."""
    microseconds = (place.requested_at - _EPOCH) // _MICROSECOND
    return urlsafe_b64encode(_PLACE.pack(microseconds, place.id.bytes)).decode()


def place_of(cursor: str) -> Place:
    """The place at which the page ended.

    Raises:
        NoCursor: there is no such place.
    """
    if not re.fullmatch(PATTERN, cursor):
        raise NoCursor
    microseconds, id_bytes = _PLACE.unpack(urlsafe_b64decode(cursor))
    try:
        requested_at = _EPOCH + timedelta(microseconds=microseconds)
    except OverflowError:
        raise NoCursor from None
    return Place(requested_at, UUID(bytes=id_bytes))
