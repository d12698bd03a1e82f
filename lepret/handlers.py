"""How the web server runs Django."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any, Final

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIHandler
from django.http import HttpRequest
from django.http.response import HttpResponseBase

# Of CPython's generations 0, 1 and 2, instead of 700, 10 and 10.
_COLLECT_AFTER: Final = (20_000, 50, 100)


class OneThreadHandler(ASGIHandler):
    """Hands each request over to a thread once, where middleware, view and database run.

    Django's own handler does so for each step of each middleware, going back and forth between the
    event loop and the thread: a third of what a request took.
    """

    def load_middleware(self, is_async: bool = False) -> None:
        super().load_middleware(is_async=False)

    async def get_response_async(self, request: HttpRequest) -> HttpResponseBase:
        get_response: Callable[[HttpRequest], Any] = self.get_response
        response: HttpResponseBase = await sync_to_async(get_response, thread_sensitive=True)(
            request
        )
        return response


def collect_garbage_less_often() -> None:
    """Leave out what is there to stay, and look at the rest less often.

    Whoever is served in the moment of a full collection waits for it.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT_AFTER)
