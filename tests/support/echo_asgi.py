"""The project's application, with websockets that anybody may open, and that echo what they get.

To "page" they answer with as much as a page is sent, to "flood" with more than a client may leave
unread.
"""

from __future__ import annotations

from typing import Any

# First, because it sets Django up.
from lepret.asgi import application as project

PAGE = "x" * 100_000
ANSWERS = {"page": (1, PAGE), "flood": (200, PAGE)}


async def application(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "websocket":
        await project(scope, receive, send)
        return
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        times, text = ANSWERS.get(message["text"], (1, message["text"]))
        for _ in range(times):
            await send({"type": "websocket.send", "text": text})
