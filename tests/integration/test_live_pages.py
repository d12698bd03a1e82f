"""The pages' websockets, through the whole ASGI application and a real channel layer."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone

from lepret.asgi import application
from loans.domain.events import LoanRequested, ManualReviewRequired
from readmodels import consumers
from readmodels.broadcasts import UNDERWRITING, Broadcaster, loan_request_group
from readmodels.models import LoanStatus, PendingRequest, Status
from readmodels.projections import PROJECTIONS
from tests.support.loans import AT, ZOE
from tests.support.staff import make_clerk, make_underwriter

pytestmark = [pytest.mark.usefixtures("channel_layer"), pytest.mark.django_db]

SECONDS = 10.0
ORIGIN = "http://localhost:8000"
QUEUE = "/ws/underwriting/"
FORBIDDEN = 4403

AsyncTest = Callable[..., Awaitable[None]]


def in_event_loop(test: AsyncTest) -> Callable[..., None]:
    """Run an async test; what it does to the database happens in pytest's own thread."""

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


@pytest.fixture
def _looks_again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumers, "LOOK_AGAIN_SECONDS", 0.3)


async def websocket(
    path: str, user: User | None = None, *, origin: str | None = ORIGIN
) -> WebsocketCommunicator:
    """A browser's websocket, with the session of `user`."""
    headers = [] if origin is None else [(b"origin", origin.encode())]
    if user is not None:
        browser = Client()
        await browser.aforce_login(user)
        headers.append((b"cookie", f"sessionid={browser.cookies['sessionid'].value}".encode()))
    return WebsocketCommunicator(application, path, headers)


@asynccontextmanager
async def page(socket: WebsocketCommunicator) -> AsyncIterator[Page]:
    """An open page, with what it was sent when it connected."""
    accepted, _ = await socket.connect(SECONDS)
    assert accepted
    try:
        yield Page(socket)
    finally:
        await socket.disconnect(timeout=SECONDS)


class Page:
    def __init__(self, socket: WebsocketCommunicator) -> None:
        self._socket = socket

    async def next_fragments(self) -> str:
        """What it is sent next."""
        return str(await self._socket.receive_from(SECONDS))

    async def closed(self) -> int:
        """The code with which the server closes it."""
        output = await self._socket.receive_output(SECONDS)
        assert output["type"] == "websocket.close", output
        code: int = output["code"]
        return code


async def is_refused(socket: WebsocketCommunicator) -> bool:
    accepted, _ = await socket.connect(SECONDS)
    await socket.disconnect(timeout=SECONDS)
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


@sync_to_async
def add_loan_under_review() -> UUID:
    """A request as the status page's projection makes it."""
    known = {"name": ZOE.name, "national_id": ZOE.national_id, "amount": 5000}
    loan_request_id = uuid4()
    for event in (
        LoanRequested(id=loan_request_id, occurred_at=AT, address=ZOE.address, **known),
        ManualReviewRequired(id=loan_request_id, occurred_at=AT, credit_score=5, **known),
    ):
        PROJECTIONS["loan_status"].handle(event)
    return loan_request_id


@asynccontextmanager
async def broadcasting_all_the_time(broadcaster: Broadcaster) -> AsyncIterator[None]:
    """Broadcasts to the underwriters, one upon the other, as long as this lasts."""

    async def broadcast() -> None:
        await asyncio.wrap_future(broadcaster.send({UNDERWRITING: {uuid4()}}))

    async def keep_broadcasting() -> None:
        while True:
            await broadcast()

    await broadcast()  # The first one takes longer: it connects.
    broadcasting = asyncio.create_task(keep_broadcasting())
    try:
        yield
    finally:
        broadcasting.cancel()


async def decide(loan_request_id: UUID) -> None:
    await PendingRequest.objects.filter(id=loan_request_id).adelete()


def status(loan_request_id: UUID) -> str:
    return f"/ws/loans/{loan_request_id}/"


def row(loan_request_id: UUID) -> str:
    return f'<tr id="request-{loan_request_id}">'


def no_row(loan_request_id: UUID) -> str:
    return f'<tr id="request-{loan_request_id}" hx-swap-oob="delete">'


class TestWhoMayOpenTheQueue:
    @in_event_loop
    async def test_an_underwriter_may(self, underwriter: User) -> None:
        async with page(await websocket(QUEUE, underwriter)) as queue:
            assert "Nothing to decide" in await queue.next_fragments()

    @in_event_loop
    async def test_someone_who_is_not_logged_in_may_not(self) -> None:
        assert await is_refused(await websocket(QUEUE))

    @in_event_loop
    async def test_someone_of_another_group_may_not(self, clerk: User) -> None:
        assert await is_refused(await websocket(QUEUE, clerk))

    @pytest.mark.parametrize(
        "origin", ["https://evil.example", "http://localhost.evil.example", None]
    )
    @in_event_loop
    async def test_a_page_of_another_site_may_not(
        self, underwriter: User, origin: str | None
    ) -> None:
        assert await is_refused(await websocket(QUEUE, underwriter, origin=origin))


class TestTheQueue:
    @in_event_loop
    async def test_is_listed_on_connecting(self, underwriter: User) -> None:
        first, second = await add_pending_request(), await add_pending_request()
        async with page(await websocket(QUEUE, underwriter)) as queue:
            fragments = await queue.next_fragments()
        assert '<div id="queue">' in fragments
        assert 0 < fragments.index(row(first)) < fragments.index(row(second))

    @in_event_loop
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

    @in_event_loop
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

    @in_event_loop
    async def test_is_sent_nothing_when_a_broadcast_changes_nothing(
        self, underwriter: User, broadcaster: Broadcaster
    ) -> None:
        async with page(await websocket(QUEUE, underwriter)) as queue:
            await queue.next_fragments()
            broadcaster.send({UNDERWRITING: {uuid4()}}).result(SECONDS)
            new = await add_pending_request()
            broadcaster.send({UNDERWRITING: {new}})
            assert row(new) in await queue.next_fragments()

    @pytest.mark.usefixtures("_looks_again_soon")
    @in_event_loop
    async def test_gets_a_row_whose_broadcast_was_lost(self, underwriter: User) -> None:
        async with page(await websocket(QUEUE, underwriter)) as queue:
            await queue.next_fragments()
            new = await add_pending_request()
            assert row(new) in await queue.next_fragments()

    @pytest.mark.usefixtures("_looks_again_soon")
    @in_event_loop
    async def test_is_closed_for_a_user_who_leaves_the_group(self, underwriter: User) -> None:
        async with page(await websocket(QUEUE, underwriter)) as queue:
            await queue.next_fragments()
            await underwriter.groups.aclear()
            assert await queue.closed() == FORBIDDEN

    @pytest.mark.usefixtures("_looks_again_soon")
    @in_event_loop
    async def test_is_closed_for_a_user_who_logs_out_on_another_page(
        self, underwriter: User
    ) -> None:
        async with page(await websocket(QUEUE, underwriter)) as queue:
            await queue.next_fragments()
            # What logging out does: the session, which all pages share, ends.
            await Session.objects.all().adelete()
            assert await queue.closed() == FORBIDDEN

    @pytest.mark.usefixtures("_looks_again_soon")
    @in_event_loop
    async def test_is_closed_for_such_a_user_however_busy_it_is(
        self, underwriter: User, broadcaster: Broadcaster
    ) -> None:
        async with page(await websocket(QUEUE, underwriter)) as queue:
            await queue.next_fragments()
            async with broadcasting_all_the_time(broadcaster):
                await underwriter.groups.aclear()
                assert await queue.closed() == FORBIDDEN


class TestAStatusPage:
    @in_event_loop
    async def test_needs_no_login_and_shows_how_the_request_stands(self) -> None:
        loan = await add_loan_under_review()
        async with page(await websocket(status(loan))) as applicant:
            assert "Under review" in await applicant.next_fragments()

    @in_event_loop
    async def test_says_received_before_the_read_model_knows_the_request(self) -> None:
        async with page(await websocket(status(uuid4()))) as applicant:
            assert "Received" in await applicant.next_fragments()

    @in_event_loop
    async def test_changes_with_the_decision(self, broadcaster: Broadcaster) -> None:
        loan = await add_loan_under_review()
        async with page(await websocket(status(loan))) as applicant:
            await applicant.next_fragments()
            await LoanStatus.objects.filter(id=loan).aupdate(status=Status.APPROVED)
            broadcaster.send({loan_request_group(loan): {loan}})
            fragments = await applicant.next_fragments()
        assert "Approved" in fragments
        assert "Your loan of 5,000 is approved" in fragments

    @pytest.mark.usefixtures("_looks_again_soon")
    @in_event_loop
    async def test_changes_when_the_broadcast_was_lost(self) -> None:
        loan = await add_loan_under_review()
        async with page(await websocket(status(loan))) as applicant:
            await applicant.next_fragments()
            await LoanStatus.objects.filter(id=loan).aupdate(status=Status.DENIED)
            assert "Denied" in await applicant.next_fragments()

    @in_event_loop
    async def test_shows_nothing_of_who_the_applicant_is(self) -> None:
        loan = await add_loan_under_review()
        async with page(await websocket(status(loan))) as applicant:
            assert not ZOE.is_told_by(await applicant.next_fragments())
