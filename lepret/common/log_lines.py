"""One line of the log for each record, whatever a caller has put into it."""

from __future__ import annotations

import logging
import time
from typing import Final

# Line ends of every kind (`str.splitlines`), and what moves a terminal's cursor or hides text.
_CONTROLS: Final = {
    code: chr(code).encode("unicode_escape").decode()
    for code in (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, *range(0x202A, 0x202F))
}
_BUT_IN_STACK_TRACES: Final = {code: each for code, each in _CONTROLS.items() if code != ord("\n")}


class LineFormatter(logging.Formatter):
    """Times in UTC (RFC 3339); control characters are written as escape sequences.

    Otherwise a path or a name with a line end in it could pass for an entry of its own (CWE-117).
    """

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (as in logging)
        return super().formatMessage(record).translate(_CONTROLS)

    def formatException(self, ei: object) -> str:  # noqa: N802 (as in logging)
        return super().formatException(ei).translate(_BUT_IN_STACK_TRACES)  # type: ignore[arg-type]
