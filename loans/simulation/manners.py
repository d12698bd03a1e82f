"""How the credit bureau behaves: what it answers, or does instead of an answer."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from typing import Final
from uuid import UUID

JSON: Final = "application/json"


@dataclass(frozen=True)
class Reply:
    """An answer, good or bad."""

    body: bytes
    status: HTTPStatus = HTTPStatus.OK
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(
        cls, value: object, status: HTTPStatus = HTTPStatus.OK, *headers: tuple[str, str]
    ) -> Reply:
        """An answer in JSON."""
        return cls(json.dumps(value).encode(), status, JSON, headers)


class NoReply(Enum):
    """What it does instead of an answer."""

    HANG_UP = "hang up"
    SAY_NOTHING = "say nothing"


Behaviour = Reply | NoReply


def _failure(status: HTTPStatus, *headers: tuple[str, str]) -> Reply:
    return Reply.of({"error": status.phrase}, status, *headers)


FAILURES: Final[tuple[Behaviour, ...]] = (
    _failure(HTTPStatus.INTERNAL_SERVER_ERROR),
    _failure(HTTPStatus.SERVICE_UNAVAILABLE),
    _failure(HTTPStatus.TOO_MANY_REQUESTS, ("Retry-After", "1")),
    NoReply.HANG_UP,
    NoReply.SAY_NOTHING,
)

GARBAGE: Final[tuple[Behaviour, ...]] = (
    *(Reply.of({"score": score}) for score in (11, "7", 7.0, None)),
    Reply(b'{"score": '),
    Reply(b"<p>7</p>", content_type="text/html"),
    Reply.of({}, HTTPStatus.FOUND, ("Location", "/healthz")),
)


@dataclass(frozen=True, kw_only=True)
class Manners:
    """How well it behaves.

    Attributes:
        latency: seconds before each answer.
        failure_rate, garbage_rate: how many of all asks go wrong so, from 0 to 1; 1 at most
            together.
        seed: has the same asks go wrong in the same way each time, whatever is asked in between.
    """

    latency: float = 0.0
    failure_rate: float = 0.0
    garbage_rate: float = 0.0
    seed: int | None = None

    def misbehaviour(self, key: UUID, asks_before: int) -> Behaviour | None:
        """What goes wrong with this ask; `None` where nothing does."""
        own = None if self.seed is None else f"{self.seed} {key} {asks_before}"
        chance = random.Random(own)  # noqa: S311
        drawn = chance.random()
        if drawn < self.failure_rate:
            return chance.choice(FAILURES)
        if drawn < self.failure_rate + self.garbage_rate:
            return chance.choice(GARBAGE)
        return None
