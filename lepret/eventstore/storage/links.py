"""Link events (`$>`), which refer to an event of another stream."""

import re

LINK_TYPE = "$>"
LAST_EVENT = -1

_REVISION = re.compile(r"\s*[+-]?[0-9]{1,30}\s*")
_SMALLEST, _LARGEST = -(2**63), 2**63 - 1


def link_target(data: bytes) -> tuple[str, int] | None:
    """The stream and the revision that a link names, as in ``3@orders``.

    Revision -1 is the last event's. None for other data, which clients may write into a link event
    as well: such a link is an ordinary event.
    """
    revision, _, stream = data.decode(errors="replace").partition("@")
    if not _REVISION.fullmatch(revision):
        return None
    number = int(revision)
    return (stream, number) if _SMALLEST <= number <= _LARGEST else None
