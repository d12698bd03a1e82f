"""The clients of a web server for `requests.py`, in a process of their own.

    python -m benchmarks.requests_load URL CALL CLIENTS SECONDS FIRST_PERSON

Each client keeps one connection, and makes its next call when the last one is answered. Prints the
result as JSON: see `Load`.

It supports only the HTTP that these answers need, since it takes CPU time from the server.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import count
from typing import Final
from urllib.parse import urlencode, urlsplit
from uuid import uuid4

WARM_UP_SECONDS: Final = 0.5
SECONDS_TO_ANSWER: Final = 30.0

_FORM: Final = "application/x-www-form-urlencoded"
_JSON: Final = "application/json"
_LENGTH: Final = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_COOKIE: Final = re.compile(rb"(csrftoken=\w+)")
_TOKEN: Final = re.compile(rb'name="csrfmiddlewaretoken" value="(\w+)"')


class Call(StrEnum):
    """A kind of request."""

    FORM = "form"
    API = "api"
    INSERT = "insert"
    CHECKED_INSERT = "checked-insert"
    OWN_INSERT = "own-insert"


@dataclass
class Load:
    """The result of a run.

    The latencies are of the calls that were answered within `seconds` after the warm-up. The other
    figures are of all calls: `elapsed` is the time from the first call to the last answer, and
    `cpu_seconds` is of this process.
    """

    seconds: float
    latencies_ms: list[float] = field(default_factory=list)
    calls: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    elapsed: float = 0.0
    cpu_seconds: float = 0.0


def main() -> None:
    url, call, clients, seconds, first_person = sys.argv[1:]
    make = _CALLS[Call(call)]
    people = people_from(int(first_person))
    load = asyncio.run(_load(url, make, people, clients=int(clients), seconds=float(seconds)))
    print(json.dumps(vars(load)))


def people_from(first: int) -> Iterator[str]:
    """Different national IDs, from number `first` on: a person may have one open request."""
    for number in count(first):
        letter, digits = divmod(number, 1_000_000)
        yield f"{digits:06}b{chr(ord('a') + letter)}"


async def _load(
    url: str, make: MakeCall, people: Iterator[str], *, clients: int, seconds: float
) -> Load:
    load = Load(seconds)
    connections = await asyncio.gather(*(connected(url) for _ in range(clients)))
    began, cpu_began = time.perf_counter(), time.process_time()
    counts_from = began + WARM_UP_SECONDS
    until = counts_from + seconds

    async def call_again_and_again(connection: Connection) -> None:
        with closing(connection):
            while (sent := time.perf_counter()) < until:
                problem = await problem_of(make(connection, next(people)))
                answered = time.perf_counter()
                load.calls += 1
                if problem:
                    load.failures[problem] += 1
                elif counts_from <= answered < until:
                    load.latencies_ms.append(round(1000 * (answered - sent), 3))

    await asyncio.gather(*map(call_again_and_again, connections))
    load.elapsed = time.perf_counter() - began
    load.cpu_seconds = time.process_time() - cpu_began
    return load


async def problem_of(call: Awaitable[None]) -> str | None:
    """Make a call; returns what was wrong with the answer, or `None`."""
    try:
        async with asyncio.timeout(SECONDS_TO_ANSWER):
            await call
    except WrongAnswer as wrong:
        return str(wrong)
    except (OSError, EOFError) as error:  # time-outs are among these
        return type(error).__qualname__
    return None


# HTTP ---------------------------------------------------------------------------------------


class WrongAnswer(Exception):
    """The server did not answer as expected."""


@dataclass(frozen=True)
class Answer:
    """An answer, with its head as it came."""

    status: int
    head: bytes
    body: bytes

    def check(self, status: int, *, sign: str = "") -> None:
        """Check the status, and that the answer contains `sign`.

        Raises:
            WrongAnswer: another status, or no `sign`.
        """
        if self.status != status:
            raise WrongAnswer(f"status {self.status}")
        if sign.encode() not in self.head + self.body:
            raise WrongAnswer(f"status {self.status}, but not for this request")


class Connection:
    """A browser's connection, which keeps the form's cookie and token."""

    def __init__(
        self, host: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._host = host
        self._reader = reader
        self._writer = writer
        self.token = ""
        self._cookie = ""

    async def open_form(self) -> None:
        """Get the form's cookie and token."""
        form = await self.get("/")
        self.token = _found(_TOKEN, form.body)
        self._cookie = _found(_COOKIE, form.head)

    async def get(self, path: str) -> Answer:
        """Get what is at a path."""
        return await self._exchange(f"GET {path} HTTP/1.1\r\nHost: {self._host}\r\n\r\n")

    async def post(self, path: str, body: str, *, content_type: str) -> Answer:
        """Send a body (ASCII) like a browser on the form's page."""
        return await self._exchange(
            f"POST {path} HTTP/1.1\r\nHost: {self._host}\r\nOrigin: http://{self._host}\r\n"
            f"Cookie: {self._cookie}\r\nContent-Type: {content_type}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}"
        )

    async def _exchange(self, request: str) -> Answer:
        self._writer.write(request.encode("ascii"))
        head = await self._reader.readuntil(b"\r\n\r\n")
        body = await self._reader.readexactly(int(_found(_LENGTH, head)))
        return Answer(int(head[9:12]), head, body)

    def close(self) -> None:
        self._writer.close()


async def connected(url: str) -> Connection:
    """A connection to the server at `url` that has opened the form."""
    parts = urlsplit(url)
    streams = await asyncio.open_connection(parts.hostname, parts.port)
    connection = Connection(parts.netloc, *streams)
    await connection.open_form()
    return connection


def _found(pattern: re.Pattern[bytes], text: bytes) -> str:
    match = pattern.search(text)
    if match is None:
        raise WrongAnswer(f"no {pattern.pattern!r} in the answer")
    return match[1].decode()


# The calls ----------------------------------------------------------------------------------

MakeCall = Callable[[Connection, str], Awaitable[None]]


async def _form(connection: Connection, national_id: str) -> None:
    id_ = str(uuid4())
    fields = application(id_, national_id) | {"csrfmiddlewaretoken": connection.token}
    answer = await connection.post("/", urlencode(fields), content_type=_FORM)
    answer.check(302, sign=f"/loans/{id_}/")


async def _api(connection: Connection, national_id: str) -> None:
    await apply(connection, str(uuid4()), national_id)


async def apply(connection: Connection, id_: str, national_id: str) -> None:
    """Apply through the API.

    Raises:
        WrongAnswer: it was not accepted.
    """
    body = json.dumps(application(id_, national_id))
    answer = await connection.post("/api/loan-requests", body, content_type=_JSON)
    answer.check(201, sign=id_)


async def _insert(connection: Connection, _: str) -> None:
    answer = await connection.post("/benchmark/by-django/insert/", "{}", content_type=_JSON)
    answer.check(201)


async def _own_insert(connection: Connection, _: str) -> None:
    answer = await connection.post("/benchmark/insert/", "{}", content_type=_JSON)
    answer.check(201)


async def _checked_insert(connection: Connection, _: str) -> None:
    body = urlencode({"csrfmiddlewaretoken": connection.token})
    path = "/benchmark/by-django/checked-insert/"
    answer = await connection.post(path, body, content_type=_FORM)
    answer.check(201)


def application(id_: str, national_id: str) -> dict[str, str | int]:
    return {"id": id_, "name": "Ann Example", "national_id": national_id, "amount": 5000}


_CALLS: Final[dict[Call, MakeCall]] = {
    Call.FORM: _form,
    Call.API: _api,
    Call.INSERT: _insert,
    Call.CHECKED_INSERT: _checked_insert,
    Call.OWN_INSERT: _own_insert,
}


if __name__ == "__main__":
    main()
