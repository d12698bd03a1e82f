"""Bodies that are sent compressed. None is taken.

All that is sent here is small, and what is compressed may be a thousand times as large.
"""

from __future__ import annotations

from typing import Final

from django.http import HttpRequest

# What a refusal (415) says to be taken: RFC 9110, section 12.5.3.
ACCEPT_ENCODING: Final = {"Accept-Encoding": "identity"}


def is_encoded(request: HttpRequest) -> bool:
    """Whether the body has a content coding (RFC 9110, section 8.4), such as `gzip`."""
    codings = request.headers.get("Content-Encoding", "").split(",")
    return any(each.strip().lower() not in ("", "identity") for each in codings)
