"""How pages say how much of a term is left. `times.js` says the same while a page is open."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import Final, Literal, NamedTuple

from readmodels.clocks import SOON

_MINUTE: Final = timedelta(minutes=1)
_HOUR: Final = timedelta(hours=1)
_DAY: Final = timedelta(days=1)


class Clock(NamedTuple):
    """A term as it stands at a moment."""

    begins: datetime
    ends: datetime
    now: datetime

    @property
    def state(self) -> Literal["fine", "soon", "over"]:
        """Whether most of the term is over, or all of it."""
        if self.now >= self.ends:
            return "over"
        return "soon" if self.now - self.begins >= SOON * (self.ends - self.begins) else "fine"

    @property
    def words(self) -> str:
        """When it ends: a colour alone says nothing to whoever does not see it."""
        match self.state:
            case "over":
                return f"{in_words(self.now - self.ends)} overdue"
            case "soon":
                return f"soon, in {in_words(self.ends - self.now)}"
            case "fine":
                return f"in {in_words(self.ends - self.now)}"


def left_in_words(left: timedelta) -> str:
    """How long a claim still lasts, such as `12 min left`."""
    minutes = math.ceil(left / _MINUTE)
    if minutes <= 1:
        return "1 min left"
    hours, minutes = divmod(minutes, 60)
    if not hours:
        return f"{minutes} min left"
    return f"{hours} h {minutes} min left" if minutes else f"{hours} h left"


def in_words(span: timedelta) -> str:
    """A span of time in the largest unit that says enough, such as `5 hours`."""
    if span < _MINUTE:
        return "less than a minute"
    if span < _HOUR:
        return _counted(span // _MINUTE, "minute")
    return _counted(span // _HOUR, "hour") if span < 2 * _DAY else f"{span // _DAY} days"


def _counted(count: int, unit: str) -> str:
    return f"{count} {unit}" if count == 1 else f"{count} {unit}s"
