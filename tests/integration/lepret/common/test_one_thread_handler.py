"""Which thread handles a request, and what is left in it for the next one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from functools import wraps
from pathlib import Path
from typing import Any, Final

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from asgiref.testing import ApplicationCommunicator
from django.core.signals import request_finished, request_started
from django.db import connections
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import path
from pytest_django import Settings

from lepret.common.one_thread_handler import OneThreadHandler
from lepret.common.turns import current_turn
from tests.support.processes import PATIENCE, wait_until

# Its types are missing.
NewCommunicator: Final[Any] = ApplicationCommunicator


class Seen:
    """What the views of this module have seen and wait for."""

    def __init__(self) -> None:
        self.threads: list[int] = []
        self.is_at_work = threading.Event()
        self.may_go_on = threading.Event()
        self.pieces = 0
        self.database: list[object] = []


seen = Seen()


def note_thread(**_: Any) -> None:
    seen.threads.append(threading.get_ident())


def plain(request: HttpRequest) -> HttpResponse:
    note_thread()
    return HttpResponse("plain")


def slow(request: HttpRequest) -> HttpResponse:
    note_thread()
    seen.is_at_work.set()
    assert seen.may_go_on.wait(PATIENCE)
    return HttpResponse("slow")


def streamed(request: HttpRequest) -> StreamingHttpResponse:
    async def pieces() -> AsyncIterator[bytes]:
        while True:
            yield await sync_to_async(piece)()

    def piece() -> bytes:
        note_thread()
        seen.pieces += 1
        return b"%d" % seen.pieces

    return StreamingHttpResponse(pieces())


async def asynchronous(request: HttpRequest) -> HttpResponse:
    seen.is_at_work.set()
    await asyncio.sleep(PATIENCE)
    return HttpResponse("in vain")


def query(request: HttpRequest, status: int) -> HttpResponse:
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT 1")
    seen.database.append(connections["default"].connection)
    return HttpResponse(status=status)


urlpatterns = [
    path("plain/", plain),
    path("slow/", slow),
    path("streamed/", streamed),
    path("asynchronous/", asynchronous),
    path("query/<int:status>/", query),
]


class Asked:
    """A request to a handler, as a web server passes it on."""

    def __init__(self, handler: OneThreadHandler, path: str) -> None:
        scope = {
            "type": "http",
            "method": "GET",
            "path": path,
            "query_string": b"",
            "headers": [(b"host", b"localhost")],
        }
        self.communicator = NewCommunicator(handler, scope)

    async def begin(self) -> None:
        await self.communicator.send_input({"type": "http.request", "body": b""})

    async def status(self) -> int:
        return int((await self.communicator.receive_output(PATIENCE))["status"])

    async def piece(self) -> bytes:
        return bytes((await self.communicator.receive_output(PATIENCE))["body"])

    async def leave(self) -> None:
        await self.communicator.send_input({"type": "http.disconnect"})

    async def end(self) -> None:
        await self.communicator.wait(PATIENCE)


async def answered(handler: OneThreadHandler, path: str) -> int:
    """The status of an answer that is sent in full."""
    asked = Asked(handler, path)
    await asked.begin()
    status = await asked.status()
    await asked.end()
    return status


def on_a_loop(
    test: Callable[..., Coroutine[Any, Any, None]],
) -> Callable[..., None]:
    @wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        async_to_sync(test)(*args, **kwargs)

    return run


@pytest.fixture
def handler(settings: Settings) -> Iterator[OneThreadHandler]:
    global seen  # noqa: PLW0603 (the views find it there)
    seen = Seen()
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = []
    yield OneThreadHandler()
    seen.may_go_on.set()


@on_a_loop
async def test_a_request_and_the_next_one_are_handled_in_one_thread(
    handler: OneThreadHandler,
) -> None:
    request_started.connect(note_thread)
    request_finished.connect(note_thread)
    try:
        assert [await answered(handler, "/plain/") for _ in range(3)] == [200] * 3
    finally:
        request_started.disconnect(note_thread)
        request_finished.disconnect(note_thread)

    assert len(seen.threads) == 3 * 3
    [thread] = set(seen.threads)
    assert thread != threading.get_ident()


@on_a_loop
async def test_requests_at_the_same_time_have_a_thread_each(handler: OneThreadHandler) -> None:
    slow = Asked(handler, "/slow/")
    await slow.begin()
    await asyncio.to_thread(seen.is_at_work.wait, PATIENCE)
    assert await answered(handler, "/plain/") == 200
    seen.may_go_on.set()
    assert await slow.status() == 200
    await slow.end()

    assert len(set(seen.threads)) == 2


@on_a_loop
async def test_a_request_that_cannot_be_read_is_refused(handler: OneThreadHandler) -> None:
    asked = Asked(handler, "/plain/")
    asked.communicator.scope["query_string"] = b"\xff"
    await asked.begin()
    assert await asked.status() == 400
    await asked.end()


@on_a_loop
async def test_an_answer_is_streamed_piece_by_piece_in_the_same_thread(
    handler: OneThreadHandler,
) -> None:
    asked = Asked(handler, "/streamed/")
    await asked.begin()
    assert await asked.status() == 200
    assert [await asked.piece() for _ in range(3)] == [b"1", b"2", b"3"]
    assert len(set(seen.threads)) == 1

    await asked.leave()
    await asked.end()
    made = seen.pieces
    assert await answered(handler, "/plain/") == 200
    assert seen.pieces == made, "nobody makes pieces for a client that has left"


@on_a_loop
async def test_an_asynchronous_view_ends_when_its_client_leaves(handler: OneThreadHandler) -> None:
    asked = Asked(handler, "/asynchronous/")
    await asked.begin()
    await asyncio.to_thread(seen.is_at_work.wait, PATIENCE)
    await asked.leave()
    await asyncio.wait_for(asked.end(), PATIENCE / 2)


@on_a_loop
async def test_a_thread_that_is_at_work_after_its_request_is_given_to_no_other(
    handler: OneThreadHandler,
) -> None:
    """As when a server no longer waits for a request whose client has left."""
    asked = Asked(handler, "/slow/")
    await asked.begin()
    await asyncio.to_thread(seen.is_at_work.wait, PATIENCE)
    await asked.leave()
    await asyncio.sleep(0)
    while not asked.communicator.future.done():
        asked.communicator.future.cancel()
        await asyncio.sleep(0.01)

    assert [await answered(handler, "/plain/") for _ in range(2)] == [200] * 2
    [at_work, *others] = seen.threads
    assert at_work not in others


@on_a_loop
async def test_a_turn_is_held_until_the_view_has_ended(handler: OneThreadHandler) -> None:
    turn = CountedTurn()

    async def served(scope: Any, receive: Any, send: Any) -> None:
        current_turn.set(turn)
        await handler(scope, receive, send)

    asked = Asked(handler, "/slow/")
    asked.communicator = NewCommunicator(served, asked.communicator.scope)
    await asked.begin()
    await asyncio.to_thread(seen.is_at_work.wait, PATIENCE)
    assert turn.holds == 1
    seen.may_go_on.set()
    assert await asked.status() == 200
    await asked.end()
    assert turn.holds == 0


class CountedTurn:
    """A turn that counts how often it is held."""

    holds = 0

    def hold(self) -> Callable[[], None]:
        self.holds += 1

        def release() -> None:
            self.holds -= 1

        return release

    def pause(self) -> None: ...

    def resume(self) -> None: ...


@pytest.mark.django_db(transaction=True)
class TestAConnectionToSqlite:
    @pytest.fixture(autouse=True)
    def in_a_file(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        if connections["default"].vendor != "sqlite":
            pytest.skip("connections to PostgreSQL go back to their pool")
        # That to a database in memory is never closed.
        monkeypatch.setitem(connections.settings["default"], "NAME", tmp_path / "db.sqlite3")

    @on_a_loop
    async def test_is_kept_for_the_next_request(self, handler: OneThreadHandler) -> None:
        assert [await answered(handler, "/query/200/") for _ in range(3)] == [200] * 3
        assert len(set(map(id, seen.database))) == 1

    @on_a_loop
    async def test_is_closed_if_anything_went_wrong(self, handler: OneThreadHandler) -> None:
        assert await answered(handler, "/query/503/") == 503
        assert await answered(handler, "/query/200/") == 200
        first, second = seen.database
        assert first is not second


def test_only_so_many_threads_wait_for_requests(
    handler: OneThreadHandler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lepret.common.one_thread_handler._MOST_WAITING", 2)

    @async_to_sync
    async def ask_many() -> None:
        many = [Asked(handler, "/slow/") for _ in range(5)]
        for each in many:
            await each.begin()
        await asyncio.to_thread(wait_until, lambda: len(seen.threads) == len(many))
        seen.may_go_on.set()
        for each in many:
            assert await each.status() == 200
            await each.end()

    def waiting() -> int:
        return sum(each.ident in seen.threads for each in threading.enumerate())

    ask_many()
    wait_until(lambda: waiting() == 2)
