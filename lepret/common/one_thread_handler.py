"""Django's handler, with one thread for each request, which stays for the next one.

Django's own handler starts a thread for each request, and hands over to it at each middleware, for
each signal, and to close the answer. That took more time than a view that inserts a row.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http import HTTPStatus
from typing import Any, Final, cast

from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.core import signals
from django.core.exceptions import RequestAborted
from django.core.handlers.asgi import ASGIHandler, get_script_prefix
from django.db import connections
from django.http import FileResponse
from django.http.response import HttpResponseBase
from django.urls import set_script_prefix

from lepret.common.turns import current_turn

# How many threads wait for the next request; while more requests are handled, there are more.
_MOST_WAITING: Final = 32


class OneThreadHandler(ASGIHandler):
    """Handles a request in one go: signals, all middleware, the view, and the end of its answer.

    Only an answer that is streamed goes on in the thread, piece by piece.
    """

    def __init__(self) -> None:
        super().__init__()
        self._waiting: list[ThreadPoolExecutor] = []

    def load_middleware(self, is_async: bool = False) -> None:
        super().load_middleware(is_async=False)

    async def handle(self, scope: Any, receive: Any, send: Any) -> None:
        """Handle a request, or stop when its client has left."""
        try:
            body_file = await self.read_body(receive)
        except RequestAborted:
            return

        async def send_if_there(message: Any) -> None:
            if leaving.done():
                raise RequestAborted
            await send(message)

        answering = asyncio.create_task(self._answer(scope, body_file, send_if_there))
        leaving = asyncio.create_task(_until_left(receive))
        # Asynchronous views, and what views call that is, end at once.
        leaving.add_done_callback(lambda _: answering.cancel())
        try:
            await answering
        except asyncio.CancelledError:
            if not leaving.done():
                raise
        finally:
            leaving.cancel()
            body_file.close()

    async def _answer(self, scope: Any, body_file: Any, send: Any) -> None:
        thread = self._take()
        try:
            async with ThreadSensitiveContext(executor=thread):
                response = await _in_turn(partial(self._respond, scope, body_file))
                try:
                    await self.send_response(response, send)
                finally:
                    if response.streaming:
                        await sync_to_async(_close)(response)
        except RequestAborted:
            pass
        except BaseException:
            # The thread may be at work for longer than this.
            _dismiss(thread)
            raise
        self._keep(thread)

    def _respond(self, scope: Any, body_file: Any) -> HttpResponseBase:
        set_script_prefix(get_script_prefix(scope))
        signals.request_started.send(sender=type(self), scope=scope)
        request, refusal = self.create_request(scope, body_file)
        response: Any = refusal if request is None else self.get_response(request)
        if isinstance(response, FileResponse):
            response.block_size = self.chunk_size
        if not response.streaming:
            _close(response)
        return cast(HttpResponseBase, response)

    def _take(self) -> ThreadPoolExecutor:
        # The one that waits for the shortest time: what it needs may still be in a cache.
        if self._waiting:
            return self._waiting.pop()
        return ThreadPoolExecutor(max_workers=1, thread_name_prefix="request")

    def _keep(self, thread: ThreadPoolExecutor) -> None:
        if len(self._waiting) < _MOST_WAITING:
            self._waiting.append(thread)
        else:
            _dismiss(thread)


async def _until_left(receive: Callable[[], Awaitable[object]]) -> None:
    # After the body, nothing else is received.
    await receive()


async def _in_turn(respond: Callable[[], HttpResponseBase]) -> HttpResponseBase:
    """Call it in the request's thread. That keeps the request's turn, even if this is cancelled."""
    turn = current_turn.get()
    if turn is None:
        return await sync_to_async(respond)()
    release = turn.hold()
    has_begun = False

    def hold_turn() -> HttpResponseBase:
        nonlocal has_begun
        has_begun = True
        try:
            return respond()
        finally:
            release()

    try:
        return await sync_to_async(hold_turn)()
    finally:
        if not has_begun:
            release()


def _close(response: HttpResponseBase) -> None:
    """End an answer, in the request's thread."""
    response.close()
    if response.streaming or response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        # What was broken off may be left in a connection, or be its fault: others get a new one.
        connections.close_all()


def _dismiss(thread: ThreadPoolExecutor) -> None:
    """Let a thread end once it has done its work."""
    thread.submit(connections.close_all)
    thread.shutdown(wait=False)
