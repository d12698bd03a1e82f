"""Which underwriters have a loan request open at the moment, for all web servers together.

One sorted set in Valkey has the open pages, `request/page/mode/username`, with the time when each
goes stale. A page that is open says so again before that, and whoever looks removes what is stale.
All these times are those of Valkey's clock. While Valkey is away, nobody is seen.
"""

from __future__ import annotations

import functools
import logging
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from uuid import UUID, uuid4

from django.conf import settings
from redis import Redis
from redis.exceptions import RedisError

from lepret.common.outages import Circuit, Outage

logger = logging.getLogger(__name__)

KEY: Final = "lepret:presence"
# Much longer than any page is believed, so that nothing is left where nobody looks any more.
KEPT_SECONDS: Final = 60

VIEWING: Final = "viewing"
DECIDING: Final = "deciding"
MODES: Final = (VIEWING, DECIDING)

SECONDS_WITHOUT_ASKING: Final = 5.0


class People(NamedTuple):
    """Usernames of those who have a request open, each once."""

    deciding: tuple[str, ...] = ()
    viewing: tuple[str, ...] = ()


@dataclass(frozen=True)
class OpenPage:
    """A page of one request. A user may have several of the same request."""

    loan_request_id: UUID
    username: str
    _number: str = field(default_factory=lambda: uuid4().hex)

    def member(self, mode: str) -> str:
        """How the set has it. The name comes last, since it may be anything."""
        return f"{self.loan_request_id}/{self._number}/{mode}/{self.username}"


class Presence:
    """The open pages, as the Valkey at `url` has them. `clock` counts the seconds of an outage."""

    def __init__(self, url: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._client: Final = Redis.from_url(url, decode_responses=True, **settings.VALKEY_PATIENCE)
        self._circuit: Final = Circuit(
            Outage(logger, "Valkey", consequence="nobody is shown who else has a request open"),
            failures=RedisError,
            seconds_without_asking=SECONDS_WITHOUT_ASKING,
            clock=clock,
        )

    def stay(self, page: OpenPage, mode: str, *, seconds: float) -> bool:
        """Say that a page is open, and for how long to believe it. Returns whether that is news."""
        return self._circuit.ask(lambda: self._stay(page, mode, seconds), if_unknown=False)

    def leave(self, page: OpenPage) -> bool:
        """Say that a page is closed. Returns whether that is news."""
        members = map(page.member, MODES)
        return self._circuit.ask(lambda: bool(self._client.zrem(KEY, *members)), if_unknown=False)

    def everybody(self) -> dict[UUID, People]:
        """Who has which request open. A request that nobody has open is not in it."""
        return self._circuit.ask(self._everybody, if_unknown={})

    def _stay(self, page: OpenPage, mode: str, seconds: float) -> bool:
        others = [page.member(each) for each in MODES if each != mode]
        stale_at = _seconds(self._client.time()) + seconds
        with self._client.pipeline() as commands:
            commands.zadd(KEY, {page.member(mode): stale_at})
            commands.zrem(KEY, *others)
            commands.expire(KEY, KEPT_SECONDS)
            added, *_ = commands.execute()
        return bool(added)

    def _everybody(self) -> dict[UUID, People]:
        with self._client.pipeline(transaction=False) as commands:
            commands.time()
            commands.zrange(KEY, 0, -1, withscores=True)
            time_there, found = commands.execute()
        now = _seconds(time_there)
        fresh = [member for member, stale_at in found if stale_at > now]
        if len(fresh) < len(found):
            self._client.zremrangebyscore(KEY, "-inf", now)
        return _people(fresh)


def presence() -> Presence:
    """That of the settings, the same for all of this process."""
    return _presence_at(settings.PRESENCE_URL)


@functools.cache
def _presence_at(url: str) -> Presence:
    return Presence(url)


def _people(members: list[str]) -> dict[UUID, People]:
    pages: dict[UUID, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for member in members:
        loan_request_id, _, mode, username = member.split("/", 3)
        pages[UUID(loan_request_id)][mode].add(username)
    return {
        each: People(
            deciding=tuple(sorted(by_mode[DECIDING])),
            # Of two pages of one user, the one in which something is decided counts.
            viewing=tuple(sorted(by_mode[VIEWING] - by_mode[DECIDING])),
        )
        for each, by_mode in pages.items()
    }


def _seconds(answer: tuple[int, int]) -> float:
    """The time that Valkey answers, as Unix time."""
    seconds, microseconds = answer
    return seconds + microseconds / 1_000_000
