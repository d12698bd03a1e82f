"""Where a page of the underwriters' queue ended, so that the next one begins after it.

A cursor is a place in the sort order, not an offset. So no request is shown twice or left out when
others come or go between two pages.
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
# Microseconds since 1970 and a UUID: 24 bytes, which base64 need not pad.
_PLACE: Final = struct.Struct(">q16s")


class NoCursor(Exception):
    """The text is no cursor."""


def cursor_at(place: Place) -> str:
    """The cursor of a page whose last request has this place."""
    microseconds = (place.requested_at - _EPOCH) // _MICROSECOND
    return urlsafe_b64encode(_PLACE.pack(microseconds, place.id.bytes)).decode()


def place_of(cursor: str) -> Place:
    """The place of the last request of the page.

    Raises:
        NoCursor: the text is no cursor.
    """
    if not re.fullmatch(PATTERN, cursor):
        raise NoCursor
    microseconds, id_bytes = _PLACE.unpack(urlsafe_b64decode(cursor))
    try:
        requested_at = _EPOCH + timedelta(microseconds=microseconds)
    except OverflowError:
        raise NoCursor from None
    return Place(requested_at, UUID(bytes=id_bytes))
