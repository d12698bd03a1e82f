"""Who has which request open, in a real Valkey."""

from __future__ import annotations

import time
from uuid import UUID, uuid4

import pytest
from redis import Redis

from readmodels.live.presence import (
    DECIDING,
    KEPT_SECONDS,
    KEY,
    SECONDS_WITHOUT_ASKING,
    VIEWING,
    OpenPage,
    People,
    Presence,
)
from tests.support.clock import Clock
from tests.support.processes import PATIENCE, free_port, frozen, wait_until
from tests.support.valkey import RunningValkey

LONG = 10 * PATIENCE


@pytest.fixture
def presence(shared_valkey: RunningValkey) -> Presence:
    Redis.from_url(shared_valkey.url).delete(KEY)
    return Presence(shared_valkey.url)


@pytest.fixture
def loan_request_id() -> UUID:
    return uuid4()


def test_whoever_has_a_page_open_is_there_until_it_is_closed(
    presence: Presence, loan_request_id: UUID
) -> None:
    uma, ulf = OpenPage(loan_request_id, "uma"), OpenPage(loan_request_id, "ulf")
    assert presence.stay(uma, VIEWING, seconds=LONG)
    assert presence.stay(ulf, DECIDING, seconds=LONG)
    assert presence.everybody() == {loan_request_id: People(("ulf",), ("uma",))}
    assert presence.leave(ulf)
    assert presence.everybody() == {loan_request_id: People((), ("uma",))}
    assert presence.leave(uma)
    assert presence.everybody() == {}


def test_only_what_changes_is_news(presence: Presence, loan_request_id: UUID) -> None:
    uma = OpenPage(loan_request_id, "uma")
    told = [presence.stay(uma, mode, seconds=LONG) for mode in (VIEWING, VIEWING, DECIDING)]
    assert told == [True, False, True]
    assert presence.everybody() == {loan_request_id: People(("uma",), ())}
    assert [presence.leave(uma), presence.leave(uma)] == [True, False]


def test_of_two_pages_of_one_user_one_may_close(presence: Presence, loan_request_id: UUID) -> None:
    one, other = OpenPage(loan_request_id, "uma"), OpenPage(loan_request_id, "uma")
    presence.stay(one, VIEWING, seconds=LONG)
    presence.stay(other, DECIDING, seconds=LONG)
    assert presence.everybody() == {loan_request_id: People(("uma",), ())}
    presence.leave(other)
    assert presence.everybody() == {loan_request_id: People((), ("uma",))}


def test_what_is_not_renewed_goes_and_is_removed_by_whoever_looks(
    presence: Presence, loan_request_id: UUID, shared_valkey: RunningValkey
) -> None:
    presence.stay(OpenPage(uuid4(), "ulf"), VIEWING, seconds=LONG)
    presence.stay(OpenPage(loan_request_id, "uma"), VIEWING, seconds=0.5)
    assert loan_request_id in presence.everybody()
    wait_until(lambda: loan_request_id not in presence.everybody())
    client = Redis.from_url(shared_valkey.url)
    assert client.zcard(KEY) == 1
    assert 0 < client.ttl(KEY) <= KEPT_SECONDS


@pytest.mark.parametrize("username", ["Łukasz.Żółć@example.com", "a+b-c_d", "x/deciding/y", "名"])
def test_a_username_may_be_anything(
    presence: Presence, loan_request_id: UUID, username: str
) -> None:
    presence.stay(OpenPage(loan_request_id, username), VIEWING, seconds=LONG)
    assert presence.everybody() == {loan_request_id: People((), (username,))}


def test_what_a_lost_valkey_knew_is_news_again(
    valkey: RunningValkey, loan_request_id: UUID
) -> None:
    presence, uma = Presence(valkey.url), OpenPage(loan_request_id, "uma")
    presence.stay(uma, VIEWING, seconds=LONG)
    valkey.restart()
    assert presence.everybody() == {}
    assert presence.stay(uma, VIEWING, seconds=LONG)
    assert loan_request_id in presence.everybody()


class TestWithoutValkey:
    def test_nobody_is_there_and_that_is_logged_once(
        self, loan_request_id: UUID, caplog: pytest.LogCaptureFixture
    ) -> None:
        clock = Clock()
        presence = Presence(f"redis://127.0.0.1:{free_port()}/0", clock=clock)
        for _ in range(3):
            assert not presence.stay(OpenPage(loan_request_id, "uma"), VIEWING, seconds=LONG)
            assert presence.everybody() == {}
            assert not presence.leave(OpenPage(loan_request_id, "uma"))
            clock.now += SECONDS_WITHOUT_ASKING
        assert caplog.text.count("Lost Valkey (ConnectionError)") == 1

    def test_one_that_hangs_is_waited_for_once_and_asked_again_later(
        self, valkey: RunningValkey, loan_request_id: UUID
    ) -> None:
        clock = Clock()
        presence = Presence(valkey.url, clock=clock)
        with frozen(valkey.pid):
            assert presence.everybody() == {}
            began = time.monotonic()
            for _ in range(100):
                assert not presence.stay(OpenPage(loan_request_id, "uma"), VIEWING, seconds=LONG)
            assert time.monotonic() - began < 0.5
        clock.now += SECONDS_WITHOUT_ASKING
        assert presence.stay(OpenPage(loan_request_id, "uma"), VIEWING, seconds=LONG)
        assert loan_request_id in presence.everybody()
