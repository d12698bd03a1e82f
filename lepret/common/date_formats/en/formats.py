"""One way to write a time, on every page and in all of Django's admin: with its zone."""

from __future__ import annotations

from typing import Final

DATETIME_FORMAT: Final = "j M Y, H:i T"
SHORT_DATETIME_FORMAT: Final = DATETIME_FORMAT
DATE_FORMAT: Final = "j M Y"
SHORT_DATE_FORMAT: Final = DATE_FORMAT
MONTH_DAY_FORMAT: Final = "j F"
TIME_FORMAT: Final = "H:i"
