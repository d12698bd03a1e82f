"""How many frames a client may send that cost work and bring none."""

import time
from collections.abc import Callable

from lepret.eventstore.wire.http2.frames import ConnectionFault, ErrorCode


class Patience:
    """An allowance that frames use up, and that time and useful traffic renew.

    It ends connections that send floods of SETTINGS, PING, PRIORITY, WINDOW_UPDATE, RST_STREAM,
    CONTINUATION or empty frames (CVE-2019-9511 to 9518, CVE-2023-44487, CVE-2024-27316).
    """

    def __init__(
        self, most: int, per_second: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._left: float = most
        self._most = most
        self._per_second = per_second
        self._clock = clock
        self._renewed = clock()

    def spend(self, count: int = 1) -> None:
        """Take frames from the allowance. Raises ConnectionFault when it is used up."""
        if self._left < count:
            now = self._clock()
            self.earn((now - self._renewed) * self._per_second)
            self._renewed = now
        if self._left < count:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too many frames without work")
        self._left -= count

    def earn(self, count: float) -> None:
        """Add to the allowance."""
        self._left = min(self._most, self._left + count)
