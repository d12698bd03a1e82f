"""What the simulated credit bureau does instead of giving a score, and how often."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from loans.simulation.bureau_server import (
    HttpReply,
    Reply,
    answer_in_json,
    reset_connection,
    say_nothing,
)

FAILURES: Final[tuple[Reply, ...]] = (
    answer_in_json({"error": "Internal Server Error"}, 500),
    answer_in_json({"error": "Service Unavailable"}, 503),
    HttpReply(b'{"error": "Too Many Requests"}', 429, headers=(("Retry-After", "1"),)),
    reset_connection,
    say_nothing,
)

GARBAGE: Final[tuple[Reply, ...]] = (
    *(answer_in_json({"score": score}) for score in (11, "7", 7.0, None)),
    answer_in_json({"score": 3, "factors": ["late_payments"] * 6}),
    HttpReply(b'{"score": '),
    HttpReply(b"<p>7</p>", content_type="text/html"),
    HttpReply(b"{}", 302, headers=(("Location", "/healthz"),)),
)


@dataclass(frozen=True, kw_only=True)
class RandomMisbehaviour:
    """Replies to a share of all asks with one of `FAILURES` or `GARBAGE`.

    Attributes:
        failure_rate, garbage_rate: the shares, from 0 to 1; together at most 1.
        seed: makes the nth ask with a key always get the same reply.
    """

    failure_rate: float = 0.0
    garbage_rate: float = 0.0
    seed: int | None = None

    def __call__(self, key: UUID, asks_before: int) -> Reply | None:
        """The reply to an ask; `None` stands for a score."""
        seed = None if self.seed is None else f"{self.seed} {key} {asks_before}"
        chance = random.Random(seed)  # noqa: S311
        drawn = chance.random()
        if drawn < self.failure_rate:
            return chance.choice(FAILURES)
        if drawn < self.failure_rate + self.garbage_rate:
            return chance.choice(GARBAGE)
        return None
