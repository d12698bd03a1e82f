"""The project's application, and beside it `/ws/bare/`: websockets that only forward messages.

For `live.py`, which compares the pages with them on the same server.
"""

from __future__ import annotations

from typing import Any, Final

from lepret.asgi import application as project  # First, because it sets Django up.

# isort: split
from channels.generic.websocket import AsyncWebsocketConsumer

BARE_PATH: Final = "/ws/bare/"
BARE_GROUP: Final = "bare"


class BareConsumer(AsyncWebsocketConsumer):
    """Forwards messages, to show what Channels costs by itself."""

    groups = [BARE_GROUP]

    async def forward(self, message: dict[str, Any]) -> None:
        await self.send(message["text"])


bare = BareConsumer.as_asgi()


async def application(scope: Any, receive: Any, send: Any) -> None:
    """The bare socket or the project, by the path."""
    await (bare if scope["path"] == BARE_PATH else project)(scope, receive, send)
