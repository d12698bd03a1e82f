"""The pages' websockets, through the whole ASGI application and a real channel layer."""

from __future__ import annotations

import asyncio
import functools
import html
import json
import re
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar
from uuid import UUID, uuid4

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from channels.routing import URLRouter
from channels.sessions import CookieMiddleware
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from prometheus_client import REGISTRY
from pytest_django import Settings
from redis import Redis

from lepret.asgi import application
from lepret.models import StaffSession
from lepret.staff.access import ENDED, NOT_UNDERWRITER, SOMEBODY_ELSE
from lepret.staff.session_store import SessionStore
from lepret.staff.sessions import LAST_SEEN_AT, LOGGED_IN_AT, SessionEnd
from readmodels.live import frame_latency
from readmodels.live.broadcasts import (
    UNDERWRITING,
    Broadcaster,
    loan_request_group,
    underwriting_group,
)
from readmodels.live.heartbeats import is_heartbeat
from readmodels.live.presence import DECIDING, KEY, VIEWING, OpenPage, presence
from readmodels.models import LoanRequest, LoanStatus, PendingRequest, Status
from readmodels.pages.consumers import (
    BAD_MESSAGE,
    LOOK_AGAIN,
    NOT_THERE,
    START_OVER,
    TRY_AGAIN,
    LoanStatusConsumer,
    PageTimes,
)
from readmodels.urls import websocket_routes
from tests.support.event_store import EventStore
from tests.support.loans import AT, ZOE, append_requested_loan
from tests.support.processes import PATIENCE, free_port
from tests.support.staff import make_clerk, make_underwriter
from tests.support.valkey import RunningValkey

pytestmark = [pytest.mark.usefixtures("channel_layer", "read_models"), pytest.mark.django_db]

HOST = "localhost:8000"
ORIGIN = f"http://{HOST}"
QUEUE = "/ws/underwriting/"
_SENT = "websocket.send"
SOON = PageTimes(read_interval=0.3, check_interval=0.3)

AsyncTest = Callable[..., Awaitable[None]]


def with_queries_in_this_thread(test: AsyncTest) -> Callable[..., None]:
    """Run an async test; its database queries run in pytest's own thread."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        async_to_sync(test)(*args, **kwargs)

    return run


@pytest.fixture
def broadcaster() -> Iterator[Broadcaster]:
    with Broadcaster() as broadcaster:
        yield broadcaster


@pytest.fixture
def underwriter() -> User:
    return make_underwriter()


@pytest.fixture
def clerk() -> User:
    return make_clerk()


async def logged_in(user: User) -> Client:
    """A browser in which this user has logged in."""
    browser = Client()
    await browser.aforce_login(user)
    return browser


async def websocket(
    path: str,
    user: User | None = None,
    *,
    browser: Client | None = None,
    origin: str | None = ORIGIN,
    **options: Any,
) -> WebsocketCommunicator:
    """A browser's websocket, with the session of `user`. The options are those of the page."""
    headers = [(b"host", HOST.encode())]
    if origin is not None:
        headers.append((b"origin", origin.encode()))
    if user is not None:
        browser = await logged_in(user)
    if browser is not None:
        headers.append((b"cookie", f"sessionid={browser.cookies['sessionid'].value}".encode()))
    served = CookieMiddleware(URLRouter(websocket_routes(**options))) if options else application
    return WebsocketCommunicator(served, path, headers)


@asynccontextmanager
async def page(socket: WebsocketCommunicator) -> AsyncIterator[Page]:
    """An open page."""
    accepted, _ = await socket.connect(PATIENCE)
    assert accepted
    try:
        yield Page(socket)
    finally:
        await socket.disconnect(timeout=PATIENCE)


class Page:
    def __init__(self, socket: WebsocketCommunicator) -> None:
        self._socket = socket

    async def next_fragments(self) -> str:
        """The next fragments that are sent to it."""
        while is_heartbeat(message := str(await self._socket.receive_from(PATIENCE))):
            pass
        return message

    async def next_heartbeat(self) -> int:
        """The time in the next message, which is a heartbeat."""
        message = str(await self._socket.receive_from(PATIENCE))
        assert is_heartbeat(message), message
        return int(json.loads(message)["now"])

    async def is_sent_nothing(self) -> bool:
        """Whether it has been sent nothing for a moment."""
        return bool(await self._socket.receive_nothing())

    async def closed(self) -> int:
        """The code with which the server closes it, before it sends anything else."""
        frames, code = await self.frames_until_closed()
        assert frames == []
        return code

    async def frames_until_closed(self) -> tuple[list[str], int]:
        """What it is sent until the server closes it, and with which code."""
        frames: list[str] = []
        # Heartbeats come all the time, so that no single wait would end.
        async with asyncio.timeout(PATIENCE):
            while (output := await self._socket.receive_output(PATIENCE))["type"] == _SENT:
                if not is_heartbeat(output["text"]):
                    frames.append(output["text"])
        assert output["type"] == "websocket.close", output
        return frames, output["code"]


async def is_refused(socket: WebsocketCommunicator) -> bool:
    accepted, _ = await socket.connect(PATIENCE)
    await socket.disconnect(timeout=PATIENCE)
    return not accepted


async def add_pending_request() -> UUID:
    """A row in the queue, as its projection makes it."""
    row = await PendingRequest.objects.acreate(
        id=uuid4(),
        name=ZOE.name,
        national_id=ZOE.national_id,
        amount=5000,
        credit_score=5,
        requested_at=timezone.now(),
    )
    return row.id


async def add_loan_under_review() -> UUID:
    """A request as the status page's projection makes it."""
    row = await LoanStatus.objects.acreate(
        id=uuid4(), status=Status.UNDER_REVIEW, amount=5000, received_at=AT
    )
    return row.id


@asynccontextmanager
async def broadcasting_all_the_time(broadcaster: Broadcaster) -> AsyncIterator[None]:
    """Broadcast to the underwriters without a pause, while the block runs."""

    async def broadcast() -> None:
        await asyncio.wrap_future(broadcaster.send({UNDERWRITING: {uuid4()}}))

    async def keep_broadcasting() -> None:
        while True:
            await broadcast()

    await broadcast()  # The first one takes longer, since it connects.
    broadcasting = asyncio.create_task(keep_broadcasting())
    try:
        yield
    finally:
        broadcasting.cancel()


async def add_request_that_underwriters_see() -> LoanRequest:
    """A request as the projections of its two pages make it."""
    return await LoanRequest.objects.acreate(
        id=await add_loan_under_review(),
        status=Status.UNDER_REVIEW,
        name=ZOE.name,
        national_id=ZOE.national_id,
        amount=5000,
        requested_at=AT,
        revision=2,
    )


class StuckPage:
    """A status page whose websocket connects, and then never finishes taking a frame."""

    def __init__(self) -> None:
        self.is_stuck = asyncio.Event()
        self.is_closed_with: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._connect = [{"type": "websocket.connect"}]

    async def receive(self) -> dict[str, Any]:
        if self._connect:
            return self._connect.pop()
        nothing: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        return await nothing

    async def send(self, message: dict[str, Any]) -> None:
        if message["type"] == "websocket.close":
            self.is_closed_with.set_result(message["code"])
        if message["type"] == "websocket.send":
            self.is_stuck.set()
            await asyncio.get_running_loop().create_future()


@asynccontextmanager
async def stuck_page(loan_request_id: UUID, **options: Any) -> AsyncIterator[StuckPage]:
    """A stuck page, until its server closes it or the block ends."""
    stuck = StuckPage()
    scope = {"type": "websocket", "url_route": {"kwargs": {"loan_request_id": loan_request_id}}}
    consumer: Any = LoanStatusConsumer.as_asgi(**options)
    serving = asyncio.create_task(consumer(scope, stuck.receive, stuck.send))
    try:
        yield stuck
    finally:
        serving.cancel()
        await asyncio.wait([serving], timeout=PATIENCE)


@dataclass(frozen=True)
class Latencies:
    """The histogram's figures for a kind of page."""

    count: float
    sum: float


def latencies(kind: str) -> Latencies:
    name, labels = "lepret_event_to_frame_seconds", {"page": kind}
    return Latencies(
        REGISTRY.get_sample_value(f"{name}_count", labels) or 0.0,
        REGISTRY.get_sample_value(f"{name}_sum", labels) or 0.0,
    )


async def decide(loan_request_id: UUID) -> None:
    await PendingRequest.objects.filter(id=loan_request_id).adelete()


def shown_to(user: User) -> str:
    """The queue's websocket of a page that was shown to this user."""
    return f"{QUEUE}?for={user.pk}"


async def address_in_page_of(user: User) -> str:
    """The queue's websocket as a page names it that was loaded just now."""
    browser = await logged_in(user)
    response = await sync_to_async(browser.get)("/underwriting/")
    found = re.search('ws-connect="([^"]+)"', response.content.decode())
    assert found is not None
    return html.unescape(found[1])


def status(loan_request_id: UUID) -> str:
    return f"/ws/loans/{loan_request_id}/"


def request(loan_request_id: UUID, user: User) -> str:
    """The websocket of a request's page that was shown to this underwriter."""
    return f"/ws/underwriting/{loan_request_id}/?for={user.pk}"


def row(loan_request_id: UUID) -> str:
    return f'<tr id="request-{loan_request_id}" data-'


def no_row(loan_request_id: UUID) -> str:
    return f'<tr id="request-{loan_request_id}" hx-swap-oob="delete">'


async def log_out(user: User) -> None:
    await StaffSession.objects.all().adelete()


async def outlive_the_cookie(user: User) -> None:
    await StaffSession.objects.aupdate(expire_date=timezone.now() - timedelta(seconds=1))


async def change_the_password(user: User) -> None:
    user.set_password("another")
    await user.asave()


async def switch_off(user: User) -> None:
    await User.objects.filter(pk=user.pk).aupdate(is_active=False)


async def delete(user: User) -> None:
    await User.objects.filter(pk=user.pk).adelete()


async def be_idle(user: User) -> None:
    await change_sessions({LAST_SEEN_AT: 0})


async def outlive_a_login(user: User) -> None:
    await change_sessions({LOGGED_IN_AT: 0})


async def change_sessions(changes: dict[str, float]) -> None:
    async for row in StaffSession.objects.all():
        session = SessionStore(row.session_key)
        await session.aupdate(changes)
        await session.asave()


WAYS_TO_END = [
    (SessionEnd.LOGGED_OUT, log_out),
    (SessionEnd.LOGGED_OUT, outlive_the_cookie),
    (SessionEnd.PASSWORD, change_the_password),
    (SessionEnd.INACTIVE, switch_off),
    (SessionEnd.INACTIVE, delete),
    (SessionEnd.IDLE, be_idle),
    (SessionEnd.EXPIRED, outlive_a_login),
]

ways_to_end = pytest.mark.parametrize(
    ("end", "happen"), WAYS_TO_END, ids=[happen.__name__ for _, happen in WAYS_TO_END]
)


@asynccontextmanager
async def busy_thread() -> AsyncIterator[None]:
    """The thread in which sessions are checked does nothing else while the block runs."""
    is_over = threading.Event()
    waiting = asyncio.create_task(sync_to_async(is_over.wait)(PATIENCE))
    try:
        yield
    finally:
        is_over.set()
        await waiting


class TestWhoMayOpenTheQueue:
    @with_queries_in_this_thread
    async def test_an_underwriter_may(self, underwriter: User) -> None:
        async with page(await websocket(QUEUE, underwriter)) as queue:
            assert "Nothing to decide" in await queue.next_fragments()

    @with_queries_in_this_thread
    async def test_someone_who_is_not_logged_in_may_not(self) -> None:
        assert await is_refused(await websocket(QUEUE))

    @with_queries_in_this_thread
    async def test_someone_of_another_group_may_not(self, clerk: User) -> None:
        assert await is_refused(await websocket(QUEUE, clerk))

    @ways_to_end
    @with_queries_in_this_thread
    async def test_after_the_end_of_a_session_it_may_not_and_is_told_why(
        self, underwriter: User, end: SessionEnd, happen: Callable[[User], Awaitable[None]]
    ) -> None:
        browser = await logged_in(underwriter)
        await happen(underwriter)
        assert await is_refused(await websocket(QUEUE, browser=browser))
        async with page(await websocket(shown_to(underwriter), browser=browser)) as queue:
            assert await queue.closed() == ENDED[end].close_code

    @with_queries_in_this_thread
    async def test_a_page_that_was_shown_to_somebody_else_may_not(self, underwriter: User) -> None:
        other = await sync_to_async(make_underwriter)("ben")
        async with page(await websocket(shown_to(underwriter), underwriter)) as queue:
            assert "Nothing to decide" in await queue.next_fragments()
        async with page(await websocket(shown_to(other), underwriter)) as queue:
            assert await queue.closed() == SOMEBODY_ELSE.close_code

    @pytest.mark.parametrize(
        "path",
        [
            "/ws/",
            "/ws/underwriting",
            "/ws/underwriting//",
            "/ws/underwriting/x",
            "/nothing/",
            "/",
            "",
            "/ws/loans/",
            "/ws/loans/1/",
            "/ws/loans/%00/",
            "/ws/loans/%ff%fe/",
            "/ws/loans/%0A%0D/",
            f"/ws/loans/{UUID(int=1)}",
            f"/ws/loans/{UUID(int=1)}/x/",
            "/ws/" + "a" * 10_000,
            "/underwriting/",
        ],
    )
    @with_queries_in_this_thread
    async def test_at_an_address_without_a_websocket_nobody_may(self, path: str) -> None:
        assert await is_refused(await websocket(path))

    @pytest.mark.parametrize(
        "origin",
        [
            "https://evil.example",
            "http://localhost.evil.example",
            "http://localhost:8001",
            "https://localhost:8000",
            "http://localhost",
            "http://127.0.0.1:8000",
            "http://user@localhost:8000",
            "null",
            "",
            None,
        ],
    )
    @with_queries_in_this_thread
    async def test_a_page_of_another_site_may_not(
        self, underwriter: User, origin: str | None
    ) -> None:
        assert await is_refused(await websocket(QUEUE, underwriter, origin=origin))


class TestTheQueue:
    @with_queries_in_this_thread
    async def test_is_listed_on_connecting(self, underwriter: User) -> None:
        first, second = await add_pending_request(), await add_pending_request()
        async with page(await websocket(QUEUE, underwriter)) as queue:
            fragments = await queue.next_fragments()
        assert '<div id="queue">' in fragments
        assert 0 < fragments.index(row(first)) < fragments.index(row(second))

    @with_queries_in_this_thread
    async def test_gets_a_row_after_a_broadcast(
        self, underwriter: User, broadcaster: Broadcaster
    ) -> None:
        async with page(await websocket(QUEUE, underwriter)) as queue:
            await queue.next_fragments()
            new = await add_pending_request()
            broadcaster.send({UNDERWRITING: {new}})
            fragments = await queue.next_fragments()
        assert row(new) in fragments
        assert "One request is waiting" in fragments

    @with_queries_in_this_thread
    async def test_loses_a_decided_row_on_every_open_page(
        self, underwriter: User, broadcaster: Broadcaster
    ) -> None:
        pending = await add_pending_request()
        async with (
            page(await websocket(QUEUE, underwriter)) as one,
            page(await websocket(QUEUE, underwriter)) as other,
        ):
            for each in (one, other):
                await each.next_fragments()
            await decide(pending)
            broadcaster.send({UNDERWRITING: {pending}})
            for each in (one, other):
                assert no_row(pending) in await each.next_fragments()

    @with_queries_in_this_thread
    async def test_is_sent_nothing_when_a_broadcast_changes_nothing(
        self, underwriter: User, broadcaster: Broadcaster
    ) -> None:
        async with page(await websocket(QUEUE, underwriter)) as queue:
            await queue.next_fragments()
            broadcaster.send({UNDERWRITING: {uuid4()}}).result(PATIENCE)
            new = await add_pending_request()
            broadcaster.send({UNDERWRITING: {new}})
            assert row(new) in await queue.next_fragments()

    @with_queries_in_this_thread
    async def test_gets_a_row_whose_broadcast_was_lost(self, underwriter: User) -> None:
        async with page(await websocket(QUEUE, underwriter, times=SOON)) as queue:
            await queue.next_fragments()
            new = await add_pending_request()
            assert row(new) in await queue.next_fragments()

    @with_queries_in_this_thread
    async def test_is_closed_for_a_user_who_leaves_the_group(self, underwriter: User) -> None:
        async with page(await websocket(QUEUE, underwriter, times=SOON)) as queue:
            await queue.next_fragments()
            await underwriter.groups.aclear()
            assert await queue.closed() == NOT_UNDERWRITER.close_code

    @ways_to_end
    @with_queries_in_this_thread
    async def test_is_closed_when_the_session_ends_and_says_why(
        self, underwriter: User, end: SessionEnd, happen: Callable[[User], Awaitable[None]]
    ) -> None:
        async with page(await websocket(QUEUE, underwriter, times=SOON)) as queue:
            await queue.next_fragments()
            await happen(underwriter)
            assert await queue.closed() == ENDED[end].close_code
            assert await queue.is_sent_nothing()

    @with_queries_in_this_thread
    async def test_is_closed_for_such_a_user_however_busy_it_is(
        self, underwriter: User, broadcaster: Broadcaster
    ) -> None:
        async with page(await websocket(QUEUE, underwriter, times=SOON)) as queue:
            await queue.next_fragments()
            async with broadcasting_all_the_time(broadcaster):
                await underwriter.groups.aclear()
                assert await queue.closed() == NOT_UNDERWRITER.close_code
                assert await queue.is_sent_nothing()

    @with_queries_in_this_thread
    async def test_is_closed_while_it_cannot_be_checked(self, underwriter: User) -> None:
        times = PageTimes(check_interval=0.3, check_timeout=0.3)
        async with page(await websocket(QUEUE, underwriter, times=times)) as queue:
            await queue.next_fragments()
            async with busy_thread():
                assert await queue.closed() == TRY_AGAIN

    @pytest.mark.parametrize("message", ["start", "start over ", "x" * 1000, b"start over"])
    @with_queries_in_this_thread
    async def test_is_closed_for_a_client_that_sends_anything_else(
        self, underwriter: User, message: str | bytes
    ) -> None:
        socket = await websocket(QUEUE, underwriter)
        async with page(socket) as queue:
            await queue.next_fragments()
            if isinstance(message, str):
                await socket.send_to(message)
            else:
                await socket.send_to(bytes_data=message)
            assert await queue.closed() == BAD_MESSAGE

    @with_queries_in_this_thread
    async def test_is_not_read_all_the_time_for_a_client_that_asks_all_the_time(
        self, underwriter: User
    ) -> None:
        socket = await websocket(QUEUE, underwriter)
        async with page(socket) as queue:
            await queue.next_fragments()
            for _ in range(20):
                await socket.send_to(START_OVER)
            frames, code = await queue.frames_until_closed()
            assert len(frames) <= 1
            assert code == BAD_MESSAGE

    @with_queries_in_this_thread
    async def test_is_listed_anew_for_a_page_that_asks(self, underwriter: User) -> None:
        pending = await add_pending_request()
        socket = await websocket(QUEUE, underwriter)
        async with page(socket) as queue, page(await websocket(QUEUE, underwriter)) as other:
            await queue.next_fragments()
            await other.next_fragments()
            await socket.send_to("start over")
            fragments = await queue.next_fragments()
            assert '<div id="queue">' in fragments
            assert row(pending) in fragments
            assert await other.is_sent_nothing()

    @with_queries_in_this_thread
    async def test_is_not_sent_what_the_page_was_loaded_with(
        self, underwriter: User, broadcaster: Broadcaster
    ) -> None:
        await add_pending_request()
        address = await address_in_page_of(underwriter)
        socket = await websocket(address, underwriter)
        async with page(socket) as queue:
            fragments = await queue.next_fragments()
            assert "One request is waiting" in fragments
            assert "<tr" not in fragments
            new = await add_pending_request()
            broadcaster.send({UNDERWRITING: {new}})
            assert row(new) in await queue.next_fragments()
            await socket.send_to("start over")
            assert '<div id="queue">' in await queue.next_fragments()
        # As it is now, it was not loaded.
        async with page(await websocket(address, underwriter)) as queue:
            assert '<div id="queue">' in await queue.next_fragments()


class TestAStatusPage:
    @with_queries_in_this_thread
    async def test_needs_no_login_and_shows_how_the_request_stands(self) -> None:
        loan = await add_loan_under_review()
        async with page(await websocket(status(loan))) as applicant:
            assert "Under review" in await applicant.next_fragments()

    @pytest.mark.usefixtures("streams")
    @with_queries_in_this_thread
    async def test_says_received_before_the_read_model_knows_the_request(self) -> None:
        loan = append_requested_loan().loan_request_id
        async with page(await websocket(status(loan))) as applicant:
            assert "Received" in await applicant.next_fragments()

    @pytest.mark.usefixtures("streams")
    @with_queries_in_this_thread
    async def test_of_a_request_that_does_not_exist_is_refused(self) -> None:
        assert await is_refused(await websocket(status(uuid4())))

    @pytest.mark.usefixtures("streams")
    @with_queries_in_this_thread
    async def test_of_many_that_do_not_exist_are_refused_and_hold_up_no_other(self) -> None:
        loan = await add_loan_under_review()
        none = [await websocket(status(uuid4())) for _ in range(100)]
        refused = asyncio.gather(*(is_refused(each) for each in none))
        async with page(await websocket(status(loan))) as applicant:
            assert "Under review" in await applicant.next_fragments()
        assert await refused == [True] * len(none)

    @pytest.mark.usefixtures("no_event_store")
    @with_queries_in_this_thread
    async def test_says_received_while_the_event_store_is_away(self) -> None:
        async with page(await websocket(status(uuid4()), times=SOON)) as applicant:
            assert "Received" in await applicant.next_fragments()
            assert await applicant.is_sent_nothing()

    @with_queries_in_this_thread
    async def test_is_closed_when_the_event_store_is_back_and_does_not_have_it(
        self, no_event_store: None, shared_event_store: EventStore, settings: Settings
    ) -> None:
        async with page(await websocket(status(uuid4()), times=SOON)) as applicant:
            assert "Received" in await applicant.next_fragments()
            settings.EVENTSTORE_URI = shared_event_store.uri
            assert await applicant.closed() == NOT_THERE

    @with_queries_in_this_thread
    async def test_is_closed_for_a_client_that_sends_anything(self) -> None:
        socket = await websocket(status(await add_loan_under_review()))
        async with page(socket) as applicant:
            await applicant.next_fragments()
            await socket.send_to(START_OVER + "!")
            assert await applicant.closed() == BAD_MESSAGE

    @with_queries_in_this_thread
    async def test_changes_with_the_decision(self, broadcaster: Broadcaster) -> None:
        loan = await add_loan_under_review()
        async with page(await websocket(status(loan))) as applicant:
            await applicant.next_fragments()
            await LoanStatus.objects.filter(id=loan).aupdate(status=Status.APPROVED)
            broadcaster.send({loan_request_group(loan): {loan}})
            fragments = await applicant.next_fragments()
        assert "Approved" in fragments
        assert "Your loan of £5,000 is approved" in fragments

    @with_queries_in_this_thread
    async def test_changes_when_the_broadcast_was_lost(self) -> None:
        loan = await add_loan_under_review()
        async with page(await websocket(status(loan), times=SOON)) as applicant:
            await applicant.next_fragments()
            await LoanStatus.objects.filter(id=loan).aupdate(status=Status.DENIED)
            assert "Denied" in await applicant.next_fragments()

    @with_queries_in_this_thread
    async def test_shows_nothing_of_who_the_applicant_is(self) -> None:
        loan = await add_loan_under_review()
        async with page(await websocket(status(loan))) as applicant:
            assert not ZOE.is_told_by(await applicant.next_fragments())


class TestHeartbeats:
    @pytest.mark.parametrize("page_of", ["queue", "status"])
    @with_queries_in_this_thread
    async def test_come_with_the_servers_time_though_nothing_changes(
        self, underwriter: User, page_of: str
    ) -> None:
        path = QUEUE if page_of == "queue" else status(await add_loan_under_review())
        times = PageTimes(heartbeat_interval=0.1)
        before = time.time()
        async with page(await websocket(path, underwriter, times=times)) as each:
            beats = [await each.next_heartbeat()]
            await each.next_fragments()
            beats += [await each.next_heartbeat() for _ in range(3)]
        assert beats == sorted(beats)
        # Milliseconds, rounded.
        assert 1000 * before - 1 <= beats[0]
        assert beats[-1] <= 1000 * time.time() + 1

    @with_queries_in_this_thread
    async def test_go_on_no_longer_than_the_page_may_be_shown(self, underwriter: User) -> None:
        times = PageTimes(check_interval=0.3, heartbeat_interval=0.05)
        async with page(await websocket(QUEUE, underwriter, times=times)) as queue:
            await queue.next_fragments()
            await underwriter.groups.aclear()
            assert await queue.closed() == NOT_UNDERWRITER.close_code
            assert await queue.is_sent_nothing()

    @with_queries_in_this_thread
    async def test_answer_a_page_that_looks_again_and_then_comes_what_it_missed(
        self, underwriter: User
    ) -> None:
        socket = await websocket(QUEUE, underwriter)
        async with page(socket) as queue:
            await queue.next_heartbeat()
            await queue.next_fragments()
            new = await add_pending_request()
            await socket.send_to(LOOK_AGAIN)
            await queue.next_heartbeat()
            fragments = await queue.next_fragments()
        assert row(new) in fragments
        assert '<div id="queue">' not in fragments

    @with_queries_in_this_thread
    async def test_answer_few_of_many_such_messages(self, underwriter: User) -> None:
        socket = await websocket(QUEUE, underwriter)
        async with page(socket) as queue:
            await queue.next_heartbeat()
            await queue.next_fragments()
            for _ in range(20):
                await socket.send_to(LOOK_AGAIN)
            await queue.next_heartbeat()
            assert await queue.is_sent_nothing()


class TestASlowPage:
    @with_queries_in_this_thread
    async def test_is_closed_and_holds_up_no_other(self, broadcaster: Broadcaster) -> None:
        loan = await add_loan_under_review()
        async with (
            stuck_page(loan, times=PageTimes(send_timeout=2.0)) as stuck,
            page(await websocket(status(loan))) as other,
        ):
            await stuck.is_stuck.wait()
            await other.next_fragments()
            await LoanStatus.objects.filter(id=loan).aupdate(status=Status.APPROVED)
            broadcaster.send({loan_request_group(loan): {loan}})
            assert "Approved" in await other.next_fragments()
            assert not stuck.is_closed_with.done()
            assert await asyncio.wait_for(stuck.is_closed_with, PATIENCE) == TRY_AGAIN

    @with_queries_in_this_thread
    async def test_leaves_nothing_when_its_server_gives_it_up(self) -> None:
        tasks = asyncio.all_tasks()
        async with stuck_page(await add_loan_under_review()) as stuck:
            await stuck.is_stuck.wait()
            tasks |= {each for each in asyncio.all_tasks() if "_do_receiving" in repr(each)}
        assert asyncio.all_tasks() == tasks


class TestALostReadModel:
    @with_queries_in_this_thread
    async def test_closes_the_page_and_the_next_one_is_served(self) -> None:
        loan, times = await add_loan_under_review(), PageTimes(read_timeout=0)
        async with page(await websocket(status(loan), times=times)) as applicant:
            assert await applicant.closed() == TRY_AGAIN
        async with page(await websocket(status(loan))) as applicant:
            assert "Under review" in await applicant.next_fragments()


class TestTheFrameLatency:
    @with_queries_in_this_thread
    async def test_is_counted_once_for_each_page_that_a_frame_left_for(
        self, broadcaster: Broadcaster
    ) -> None:
        loan = await add_loan_under_review()
        before = latencies("loan_status")
        async with (
            page(await websocket(status(loan))) as one,
            page(await websocket(status(loan))) as other,
        ):
            for each in (one, other):
                await each.next_fragments()
            # A read that was under way may find a change before it is announced.
            for new in (Status.APPROVED, Status.DENIED, Status.APPROVED):
                await LoanStatus.objects.filter(id=loan).aupdate(status=new)
                recorded_at = timezone.now() - timedelta(seconds=3)
                broadcaster.send({loan_request_group(loan): {loan}}, recorded_at=recorded_at)
                for each in (one, other):
                    await each.next_fragments()
                if latencies("loan_status") != before:
                    break
        after = latencies("loan_status")
        assert after.count - before.count == 2
        assert 2 * 3 <= after.sum - before.sum < 2 * (3 + PATIENCE)

    def test_is_never_negative(self) -> None:
        before = latencies("underwriting")
        frame_latency.observe("underwriting", time.time() + 60)
        assert latencies("underwriting") == Latencies(before.count + 1, before.sum)


class TestARequestsPage:
    @with_queries_in_this_thread
    async def test_shows_a_colleagues_note_and_the_revision_to_decide_on(
        self, underwriter: User, broadcaster: Broadcaster
    ) -> None:
        loan = await add_request_that_underwriters_see()
        async with page(await websocket(request(loan.id, underwriter), underwriter)) as seen:
            assert "None yet." in await seen.next_fragments()
            loan.notes = [{"by": "una", "at": AT.isoformat(), "text": "<b>Called.</b>"}]
            loan.revision = 3
            await loan.asave()
            broadcaster.send({underwriting_group(loan.id): {loan.id}})
            fragments = await seen.next_fragments()
        assert "&lt;b&gt;Called.&lt;/b&gt;" in fragments
        assert 'name="shown_revision" value="3" form="approve"' in fragments
        assert "<form" not in fragments, "what somebody types stays"

    @with_queries_in_this_thread
    async def test_shares_nothing_with_the_applicants_page(
        self, underwriter: User, broadcaster: Broadcaster
    ) -> None:
        loan = await add_request_that_underwriters_see()
        async with (
            page(await websocket(request(loan.id, underwriter), underwriter)) as theirs,
            page(await websocket(status(loan.id))) as applicants,
        ):
            assert ZOE.is_told_by(await theirs.next_fragments())
            assert not ZOE.is_told_by(await applicants.next_fragments())

    @pytest.mark.usefixtures("streams")
    @with_queries_in_this_thread
    async def test_of_nobody_is_not_there(self, underwriter: User) -> None:
        socket = await websocket(request(uuid4(), underwriter), underwriter)
        async with page(socket) as seen:
            assert await seen.closed() == NOT_THERE

    @ways_to_end
    @with_queries_in_this_thread
    async def test_ends_with_the_session(
        self, underwriter: User, end: SessionEnd, happen: Callable[[User], Awaitable[None]]
    ) -> None:
        loan = await add_request_that_underwriters_see()
        socket = await websocket(request(loan.id, underwriter), underwriter, times=SOON)
        async with page(socket) as seen:
            await seen.next_fragments()
            await happen(underwriter)
            _, code = await seen.frames_until_closed()
        assert code == ENDED[end].close_code

    @with_queries_in_this_thread
    async def test_is_not_for_clerks(self, clerk: User) -> None:
        loan = await add_request_that_underwriters_see()
        async with page(await websocket(request(loan.id, clerk), clerk)) as seen:
            assert await seen.closed() == NOT_UNDERWRITER.close_code


def present(loan_request_id: UUID, *, deciding: str = "", viewing: str = "") -> str:
    """What a frame says of who has a request open."""
    return (
        f'<li data-request="{loan_request_id}" data-deciding="{deciding}"'
        f' data-viewing="{viewing}"></li>'
    )


async def until(seen: Page, words: str) -> str:
    """The first fragments from now on that have these words."""
    while words not in (fragments := await seen.next_fragments()):
        pass
    return fragments


class TestColleagues:
    # Without a broadcast nothing would be seen in time.
    SELDOM: ClassVar = PageTimes(read_interval=10 * PATIENCE)

    @pytest.fixture(autouse=True)
    def _nobody_is_there(self, shared_valkey: RunningValkey) -> None:
        with Redis.from_url(shared_valkey.url) as valkey:
            valkey.delete(KEY)

    @pytest.fixture
    def colleague(self) -> User:
        return make_underwriter("ulf")

    @with_queries_in_this_thread
    async def test_are_seen_at_once_on_the_page_and_in_the_queue_without_its_rows(
        self, underwriter: User, colleague: User
    ) -> None:
        loan = await add_request_that_underwriters_see()
        await add_pending_request()
        path = request(loan.id, underwriter)
        async with (
            page(await websocket(QUEUE, underwriter, times=self.SELDOM)) as queue,
            page(await websocket(path, underwriter, times=self.SELDOM)) as own,
        ):
            await until(queue, ZOE.name)
            socket = await websocket(request(loan.id, colleague), colleague)
            async with page(socket):
                both = present(loan.id, viewing="ulf uma")
                await until(own, both)
                frame = await until(queue, both)
                assert ZOE.name not in frame
                assert len(frame) < 500
                await socket.send_to(DECIDING)
                deciding = present(loan.id, deciding="ulf", viewing="uma")
                await until(own, deciding)
                await until(queue, deciding)
                await socket.send_to(VIEWING)
                await until(own, both)
                await until(queue, both)
            alone = present(loan.id, viewing="uma")
            await until(own, alone)
            await until(queue, alone)

    @with_queries_in_this_thread
    async def test_stay_while_one_of_their_pages_is_open(
        self, underwriter: User, colleague: User
    ) -> None:
        loan = await add_request_that_underwriters_see()
        async with page(await websocket(request(loan.id, underwriter), underwriter)) as own:
            async with page(await websocket(request(loan.id, colleague), colleague)):
                socket = await websocket(request(loan.id, colleague), colleague)
                async with page(socket):
                    await socket.send_to(DECIDING)
                    await until(own, present(loan.id, deciding="ulf", viewing="uma"))
                await until(own, present(loan.id, viewing="ulf uma"))
            await until(own, present(loan.id, viewing="uma"))

    @with_queries_in_this_thread
    async def test_of_a_web_server_that_died_go_by_themselves(self, underwriter: User) -> None:
        loan = await add_request_that_underwriters_see()
        presence().stay(OpenPage(loan.id, "una"), VIEWING, seconds=2.0)
        often = PageTimes(read_interval=0.2)
        path = request(loan.id, underwriter)
        async with page(await websocket(path, underwriter, times=often)) as own:
            await until(own, present(loan.id, viewing="uma una"))
            await until(own, present(loan.id, viewing="uma"))

    @with_queries_in_this_thread
    async def test_do_not_go_while_their_page_is_open(self, underwriter: User) -> None:
        loan = await add_request_that_underwriters_see()
        times = PageTimes(
            read_interval=0.1, presence_interval=0.1, presence_pause=0, presence_stale_after=4.0
        )
        path = request(loan.id, underwriter)
        async with page(await websocket(path, underwriter, times=times)) as own:
            await until(own, present(loan.id, viewing="uma"))
            await asyncio.sleep(4.5)
            assert await own.is_sent_nothing()
            assert loan.id in presence().everybody()

    @with_queries_in_this_thread
    async def test_are_told_at_a_bounded_rate_what_is_done(self, underwriter: User) -> None:
        loan = await add_request_that_underwriters_see()
        socket = await websocket(request(loan.id, underwriter), underwriter)
        async with page(socket) as own:
            await until(own, present(loan.id, viewing="uma"))
            for mode in (DECIDING, VIEWING) * 200:
                await socket.send_to(mode)
            await socket.send_to(DECIDING)
            await until(own, present(loan.id, deciding="uma"))
            assert await own.is_sent_nothing()

    @pytest.mark.parametrize("message", [VIEWING, DECIDING])
    @with_queries_in_this_thread
    async def test_are_told_so_by_pages_of_one_request_alone(
        self, underwriter: User, message: str
    ) -> None:
        loan = await add_loan_under_review()
        for socket in (await websocket(QUEUE, underwriter), await websocket(status(loan))):
            async with page(socket) as other:
                await socket.send_to(message)
                _, code = await other.frames_until_closed()
            assert code == BAD_MESSAGE

    @with_queries_in_this_thread
    async def test_are_not_shown_to_applicants(self, underwriter: User) -> None:
        loan = await add_request_that_underwriters_see()
        async with page(await websocket(request(loan.id, underwriter), underwriter)) as own:
            await until(own, present(loan.id, viewing="uma"))
            async with page(await websocket(status(loan.id))) as applicants:
                assert "presence" not in await applicants.next_fragments()

    @with_queries_in_this_thread
    async def test_are_missing_where_valkey_does_not_say_and_nothing_else_is(
        self, underwriter: User, settings: Settings, caplog: pytest.LogCaptureFixture
    ) -> None:
        settings.PRESENCE_URL = f"redis://127.0.0.1:{free_port()}/0"
        loan = await add_request_that_underwriters_see()
        socket = await websocket(request(loan.id, underwriter), underwriter)
        async with page(socket) as own:
            assert ZOE.is_told_by(await own.next_fragments())
            await socket.send_to(DECIDING)
            await socket.send_to(LOOK_AGAIN)
            assert await own.is_sent_nothing() or await own.next_heartbeat()
        assert caplog.text.count("Lost Valkey") == 1
