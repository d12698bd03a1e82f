"""Who may go next: turns for requests, and how many connections each address has.

Python runs one thread at a time. If a server began each request at once, somebody who sends a
hundred would slow everybody else down a hundredfold. So only a few are worked on at once. While
several addresses want something, each has one turn, and the next address comes after it.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from lepret.front.limits import Limits

# How long an address counts as wanting something, after its last request.
_RECENT_SECONDS: Final = 5.0
# How many addresses the account of the loop's time keeps in mind.
_MOST_ADDRESSES: Final = 10_000


class TooManyWaiting(Exception):
    """Too many requests of this address are waiting for their turn."""


@dataclass(eq=False)
class Waiting:
    """A request that waits for its turn."""

    caller: str
    is_heavy: bool
    start: Callable[[GivenTurn], None]


@dataclass
class _Line:
    """The waiting requests of one address, in two lanes."""

    light: deque[Waiting] = field(default_factory=deque)
    heavy: deque[Waiting] = field(default_factory=deque)

    def __len__(self) -> int:
        return len(self.light) + len(self.heavy)

    def lane_of(self, waiting: Waiting) -> deque[Waiting]:
        return self.heavy if waiting.is_heavy else self.light


class Turns:
    """Gives turns. To be used on the event loop only, unless a method says otherwise."""

    def __init__(
        self,
        limits: Limits,
        clock: Callable[[], float] = time.monotonic,
        loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.get_running_loop,
    ) -> None:
        self._find_loop = loop
        self._limits = limits
        self._clock = clock
        self._lines: dict[str, _Line] = {}
        self._working: Counter[str] = Counter()
        self._heavy_working = 0
        # While others want something, no heavy request begins before this time.
        self._heavy_from = 0.0
        self._heavy_timer: asyncio.TimerHandle | None = None
        self._turns: Counter[str] = Counter()
        self._unread: Counter[str] = Counter()
        self._seen: OrderedDict[str, float] = OrderedDict()
        # The number of the last turn of each of them, and of all.
        self._last_turn: dict[str, int] = {}
        self._turn_number = 0
        self._is_giving = False
        self._lock = threading.Lock()  # For what is counted in other threads.
        self._thread = threading.get_ident()

    def ask(self, caller: str, *, is_heavy: bool, start: Callable[[GivenTurn], None]) -> Waiting:
        """Have `start` called when it is the request's turn, perhaps at once.

        Raises:
            TooManyWaiting: too many requests of this caller are waiting.
        """
        self._note(caller)
        line = self._lines.get(caller)
        if line is not None and len(line) >= self._limits.waiting_per_address:
            raise TooManyWaiting
        if line is None:
            line = self._lines[caller] = _Line()
        waiting = Waiting(caller, is_heavy, start)
        line.lane_of(waiting).append(waiting)
        self._give()
        return waiting

    def withdraw(self, waiting: Waiting) -> bool:
        """Let a request wait no longer. Returns whether it was still waiting."""
        line = self._lines.get(waiting.caller)
        if line is None or waiting not in line.lane_of(waiting):
            return False
        line.lane_of(waiting).remove(waiting)
        if not line:
            del self._lines[waiting.caller]
        return True

    def unread(self, caller: str) -> Callable[[], None]:
        """Count an answer that waits to be read, until the returned function is called.

        It takes up memory, and so counts as one of the caller's turns, though not of all turns:
        otherwise, whoever does not read would keep others from theirs.
        """
        self._unread[caller] += 1

        def is_read() -> None:
            self._unread[caller] -= 1
            if not self._unread[caller]:
                del self._unread[caller]
            self._give()

        return is_read

    def is_among_others(self, caller: str) -> bool:
        """Whether callers other than this one have wanted something a moment ago."""
        self._forget_the_silent()
        return len(self._seen) > (caller in self._seen)

    def _note(self, caller: str) -> None:
        self._seen[caller] = self._clock()
        self._seen.move_to_end(caller)

    def _forget_the_silent(self) -> None:
        silent_since = self._clock() - _RECENT_SECONDS
        while self._seen and next(iter(self._seen.values())) < silent_since:
            caller, _ = self._seen.popitem(last=False)
            self._last_turn.pop(caller, None)

    def _give(self) -> None:
        if self._is_giving:  # A request that ends at once asks for the next turn.
            return
        self._is_giving = True
        try:
            while (waiting := self._next()) is not None:
                self._begin(waiting)
        finally:
            self._is_giving = False

    def _next(self) -> Waiting | None:
        if self._turns.total() >= self._limits.turns:
            return None
        free = sorted(
            (caller for caller in self._lines if self._may_have_another(caller)),
            key=lambda caller: self._last_turn.get(caller, 0),
        )
        for caller in free:
            if self._lines[caller].light:
                return self._take(caller, self._lines[caller].light)
        if not free or self._heavy_working or self._heavy_rests(free[0]):
            return None
        return self._take(free[0], self._lines[free[0]].heavy)

    def _heavy_rests(self, caller: str) -> bool:
        """Whether heavy requests have had their share of the time; if so, goes on later."""
        seconds = self._heavy_from - self._clock()
        if seconds <= 0 or not self.is_among_others(caller):
            return False
        if self._heavy_timer is None:
            self._heavy_timer = self.loop.call_later(seconds, self._go_on_with_heavy)
        return True

    def _go_on_with_heavy(self) -> None:
        self._heavy_timer = None
        self._give()

    def _may_have_another(self, caller: str) -> bool:
        limits, unread = self._limits, self._unread[caller]
        has_one = unread or self.is_among_others(caller)
        most = limits.at_once if has_one else limits.turns_per_address
        if self._working[caller] >= most or unread >= limits.unread_per_address:
            return False
        return self._turns[caller] + unread < limits.turns_per_address

    def _take(self, caller: str, lane: deque[Waiting]) -> Waiting:
        waiting = lane.popleft()
        if not self._lines[caller]:
            del self._lines[caller]
        return waiting

    def _begin(self, waiting: Waiting) -> None:
        turn = GivenTurn(self, waiting.caller, is_heavy=waiting.is_heavy)
        release = turn.hold()
        try:
            # Not in the context of whoever has just ended a turn: Django would have both requests
            # share a thread.
            Context().run(waiting.start, turn)
        finally:
            release()

    @property
    def longest_seconds(self) -> float:
        """How long a turn counts as worked on at most."""
        return self._limits.turn_seconds

    def begin(self, turn: GivenTurn) -> None:
        """Count one more turn."""
        self._turns[turn.caller] += 1
        if turn.caller in self._seen:
            self._turn_number += 1
            self._last_turn[turn.caller] = self._turn_number
        self.work(turn)

    def end(self, turn: GivenTurn) -> None:
        """Count one turn less."""
        self.rest(turn)
        self._turns[turn.caller] -= 1
        if not self._turns[turn.caller]:
            del self._turns[turn.caller]
        # After a long request, too, it has wanted something just now.
        if turn.caller in self._seen:
            self._note(turn.caller)
        self._give()

    def work(self, turn: GivenTurn) -> None:
        """Count one more turn that is worked on. May be called from any thread."""
        with self._lock:
            if turn.is_working:
                return
            turn.is_working = True
            turn.working_since = self._clock()
            self._working[turn.caller] += 1
            self._heavy_working += turn.is_heavy

    def rest(self, turn: GivenTurn) -> None:
        """Count one turn less that is worked on. May be called from any thread."""
        with self._lock:
            if not turn.is_working:
                return
            turn.is_working = False
            self._working[turn.caller] -= 1
            if turn.is_heavy:
                self._rest_of_heavy(turn)
            if not self._working[turn.caller]:
                del self._working[turn.caller]
        if self._lines:  # Most often nobody waits, and the loop need not be woken.
            self.on_loop(self._give)

    def _rest_of_heavy(self, turn: GivenTurn) -> None:
        self._heavy_working -= 1
        now = self._clock()
        worked = now - turn.working_since
        rest = worked * (1 / self._limits.heavy_share - 1)
        self._heavy_from = max(self._heavy_from, now + rest)

    def on_loop(self, change: Callable[[], None]) -> None:
        """Call something on the event loop: at once, if this is its thread."""
        if threading.get_ident() == self._thread:
            change()
        else:
            self.loop.call_soon_threadsafe(change)

    @cached_property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop; it runs when the first turn is given."""
        return self._find_loop()


class GivenTurn:
    """The turn of one request. It ends when nobody holds it any more."""

    def __init__(self, turns: Turns, caller: str, *, is_heavy: bool) -> None:
        self.caller = caller
        self.is_heavy = is_heavy
        self.is_working = False
        self.working_since = 0.0
        self._turns = turns
        self._holds = 0
        turns.begin(self)
        # Longer than any request works: by then it only waits, for something that hangs.
        self._timer = turns.loop.call_later(turns.longest_seconds, self.pause)

    def hold(self) -> Callable[[], None]:
        self._holds += 1  # On the loop, as `ask` is.
        left = [True]

        def release() -> None:
            with contextlib.suppress(IndexError):
                left.pop()
                self._turns.on_loop(self._release)

        return release

    def pause(self) -> None:
        self._turns.rest(self)

    def resume(self) -> None:
        if self._holds:  # A websocket goes on after its turn.
            self._turns.work(self)

    def _release(self) -> None:
        self._holds -= 1
        if not self._holds:
            self._timer.cancel()
            self._turns.end(self)


class LoopShare:
    """How much of the event loop's time each address takes: an account that runs full.

    The loop accepts connections, reads, and refuses what is too much, for all. While others want
    something, an address that has taken more than its share is read more slowly, and one that still
    takes more can open no connection.
    """

    def __init__(self, turns: Turns, limits: Limits, clock: Callable[[], float]) -> None:
        self._turns = turns
        self._limits = limits
        self._clock = clock
        # What each address has taken, in seconds of the loop, and when that was.
        self._taken: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, address: str, seconds: float) -> None:
        """Note that so much was done for this address."""
        taken = min(self._level(address) + seconds, self._limits.loop_most_seconds)
        self._taken[address] = taken, self._clock()
        self._taken.move_to_end(address)
        while len(self._taken) > _MOST_ADDRESSES:
            self._taken.popitem(last=False)

    def wait(self, address: str) -> float:
        """The seconds after which this address may be read again; 0: now."""
        too_much = self._level(address) - self._limits.loop_seconds
        if too_much <= 0 or not self._turns.is_among_others(address):
            return 0.0
        return too_much / self._limits.loop_share

    def is_spent(self, address: str) -> bool:
        """Whether this address takes so much more that reading it more slowly is not enough."""
        spent = self._limits.loop_spent_seconds
        return self._level(address) > spent and self._turns.is_among_others(address)

    def _level(self, address: str) -> float:
        taken, at = self._taken.get(address, (0.0, 0.0))
        return max(0.0, taken - (self._clock() - at) * self._limits.loop_share)


class Counted:
    """How many there are of something, such as connections, of each address."""

    def __init__(self, most_per_address: int, most: int) -> None:
        self._most_per_address = most_per_address
        self._most = most
        self._counts: Counter[str] = Counter()

    def enter(self, address: str) -> bool:
        """Count one more, unless there are too many already. Returns whether it was counted."""
        if self.is_full(address):
            return False
        self._counts[address] += 1
        return True

    def is_full(self, address: str) -> bool:
        """Whether there are as many as there may be."""
        count, together = self._counts[address], self._counts.total()
        return count >= self._most_per_address or together >= self._most

    def leave(self, address: str) -> None:
        """Count one less."""
        self._counts[address] -= 1
        if not self._counts[address]:
            del self._counts[address]
