"""How much of the web server one caller may use."""

from __future__ import annotations

import resource
from dataclasses import dataclass
from typing import Final

from django.conf import settings

# Files and connections of the server's own: databases, the event store, Valkey, its log.
_OWN_FILES: Final = 200


@dataclass(frozen=True)
class Limits:
    """The limits of one process. Sizes in bytes, times in seconds."""

    body_bytes: int = 65_536
    # RFC 9110, section 4.1, recommends at least 8,000.
    target_bytes: int = 8_192
    header_bytes: int = 16_384
    headers: int = 100
    # Small pieces cost as much as large ones: in how many a request may come, and in how many
    # chunks a body, with one more for each 256 bytes.
    pieces: int = 1_024
    chunks: int = 64
    request_seconds: float = 30.0

    connections: int = 800
    connections_per_address: int = 256
    sockets_per_address: int = 100

    # After an error is answered, so much more is read and thrown away, by so many connections.
    linger_bytes: int = 32 * 1_048_576
    linger_seconds: float = 5.0
    lingering: int = 32
    lingering_per_address: int = 4

    # The share of the event loop's time that an address may take while others want something, after
    # so many seconds of it; after how many it can open no connection; and how many are remembered.
    loop_share: float = 0.2
    loop_seconds: float = 0.05
    loop_spent_seconds: float = 0.15
    loop_most_seconds: float = 0.25

    # Requests of one address that are worked on while others want something too.
    at_once: int = 1
    # After so long a request counts as one that only waits for something else.
    turn_seconds: float = 0.25
    # Both kinds, together and of one address; and of these such whose answers wait to be read, each
    # of which may take up as much memory as the largest file.
    turns: int = 64
    turns_per_address: int = 32
    unread_per_address: int = 8
    waiting_per_address: int = 256
    longest_wait_seconds: float = 10.0
    # Calls of each health endpoint that need no turn.
    probes: int = 16
    probes_per_address: int = 4
    # Bodies larger than that are handled one at a time, after other requests, and while others want
    # something, for no more than this share of the time.
    heavy_body_bytes: int = 4_096
    heavy_share: float = 0.2

    # What a page may send over its websocket: in one message, and in ten seconds.
    socket_message_bytes: int = 1_024
    socket_bytes: int = 8_192
    socket_messages: int = 20
    # What may wait for a page that does not read, beside the first frame that it has not read.
    socket_unread_bytes: int = 1_048_576

    @classmethod
    def from_settings(cls) -> Limits:
        """The limits that Django's settings and the operating system allow."""
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return cls(
            body_bytes=settings.DATA_UPLOAD_MAX_MEMORY_SIZE,
            request_seconds=settings.WEB_REQUEST_SECONDS,
            connections=max(files - _OWN_FILES, files // 2),
            connections_per_address=settings.WEB_CONNECTIONS_PER_ADDRESS,
            sockets_per_address=settings.WEB_SOCKETS_PER_ADDRESS,
        )
