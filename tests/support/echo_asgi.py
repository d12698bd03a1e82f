"""The project's application, with websockets that anybody may open, and that echo what they get.

To "flood" they answer with more than a client may leave unread.
"""

from __future__ import annotations

from typing import Any

# First, because it sets Django up.
from lepret.asgi import application as project

FLOOD = "x" * 100_000


async def application(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "websocket":
        await project(scope, receive, send)
        return
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        times, text = (200, FLOOD) if message["text"] == "flood" else (1, message["text"])
        for _ in range(times):
            await send({"type": "websocket.send", "text": text})
