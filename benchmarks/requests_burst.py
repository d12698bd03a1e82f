"""Many applications at once, for `requests.py`, in a process of its own.

    python -m benchmarks.requests_burst URL APPLICATIONS CONNECTIONS FIRST_PERSON

All connections are open before the first call, and share the applications. Then it asks about each
one until the read model shows what became of it. Prints the result as JSON: see `Burst`.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from typing import Final
from uuid import uuid4

from benchmarks.requests_load import Connection, apply, connected, people_from, problem_of

SECONDS_TO_SHOW: Final = 60.0
SECONDS_BETWEEN: Final = 0.2


@dataclass
class Burst:
    """How many applications were made, accepted, and shown with their outcome.

    `seconds` is from the first call to the last answer, and `seconds_until_shown` until all that
    were accepted are shown, if they were in time.
    """

    applications: int
    accepted: int = 0
    shown: int = 0
    seconds: float = 0.0
    seconds_until_shown: float = 0.0
    failures: Counter[str] = field(default_factory=Counter)


def main() -> None:
    url, applications, connections, first_person = sys.argv[1:]
    burst = Burst(int(applications))
    asyncio.run(_run(burst, url, int(connections), int(first_person)))
    print(json.dumps(vars(burst)))


async def _run(burst: Burst, url: str, connections: int, first_person: int) -> None:
    people = people_from(first_person)
    waiting = [(str(uuid4()), next(people)) for _ in range(burst.applications)]
    accepted: list[str] = []

    async def apply_again_and_again(connection: Connection) -> None:
        with closing(connection):
            while waiting:
                id_, national_id = waiting.pop()
                if problem := await problem_of(apply(connection, id_, national_id)):
                    burst.failures[problem] += 1
                else:
                    accepted.append(id_)

    opened = await asyncio.gather(*(connected(url) for _ in range(connections)))
    began = time.perf_counter()
    await asyncio.gather(*map(apply_again_and_again, opened))
    burst.seconds = time.perf_counter() - began
    burst.accepted = len(accepted)
    with closing(await connected(url)) as connection:
        burst.shown = burst.accepted - len(await _not_shown(connection, accepted))
    burst.seconds_until_shown = time.perf_counter() - began


async def _not_shown(connection: Connection, ids: list[str]) -> list[str]:
    """Those whose outcome is not shown in time."""
    until = time.monotonic() + SECONDS_TO_SHOW
    while ids and time.monotonic() < until:
        ids = [id_ for id_ in ids if not await _is_shown(connection, id_)]
        await asyncio.sleep(SECONDS_BETWEEN if ids else 0)
    return ids


async def _is_shown(connection: Connection, id_: str) -> bool:
    answer = await connection.get(f"/api/loan-requests/{id_}")
    answer.check(200)
    return bool(json.loads(answer.body)["status"] != "received")


if __name__ == "__main__":
    main()
