"""The project's application, with websockets that anybody may open, and that echo what they get.

To "page" they answer with as much as a page is sent, to "list" with as much as the longest list and
a change of it, to "flood" with more than a client may leave unread.
"""

from __future__ import annotations

from typing import Any

# First, because it sets Django up.
from lepret.asgi import application as project

PAGE = "x" * 100_000
LIST = "x" * 2_000_000
ANSWERS = {"page": [PAGE], "list": [LIST, "a change"], "flood": [PAGE] * 200}


async def application(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "websocket":
        await project(scope, receive, send)
        return
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        for text in ANSWERS.get(message["text"], [message["text"]]):
            await send({"type": "websocket.send", "text": text})
