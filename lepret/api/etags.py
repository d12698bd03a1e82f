"""The revision of a loan request as an entity tag (RFC 9110, section 8.8.3), a strong one."""

from __future__ import annotations

import re
from typing import Final

PATTERN: Final = '"(0|[1-9][0-9]{0,17})"'


def etag(revision: int) -> str:
    """The tag of a revision, in its quotes."""
    return f'"{revision}"'


def revision_in(tag: str) -> int | None:
    """The revision that a tag was made of; `None`: it is not one of ours."""
    match = re.fullmatch(PATTERN, tag)
    return int(match[1]) if match else None
