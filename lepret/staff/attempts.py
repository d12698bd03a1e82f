"""Limits how often passwords can be guessed.

An attempt is counted before its password is looked at, and given back if that was right. So
attempts that arrive at the same moment are all counted, and refused ones cost no hashing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import BoundedSemaphore
from typing import Final

from django.conf import settings
from django.db import connection, transaction
from django.db.models import F, Q

from lepret.common.callers import network_of
from lepret.common.database_clock import database_time
from lepret.common.keyed_hashes import keyed_hash
from lepret.models import LoginFailures

_AT_ONCE: Final = 4
_LONGEST_WAIT_SECONDS: Final = 20.0

_turns: Final = BoundedSemaphore(_AT_ONCE)


@dataclass(frozen=True)
class Limits:
    """How many failures there may be within `period`, and after that, for how long nobody may try.

    The limit for an account is that of all callers together who are not known to it.
    """

    per_account_and_caller: int = 10
    per_caller: int = 50
    per_account: int = 100
    period: timedelta = timedelta(minutes=15)


@dataclass(frozen=True, order=True)
class Counter:
    """What failures are counted for (see `LoginFailures`), and how many there may be."""

    account: str
    caller: str
    limit: int
    period: timedelta


class TooManyAttempts(Exception):
    """Nothing was tried: a limit is reached, or too many try at once. Wait for `seconds`."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"too many attempts; the next is possible in {seconds} s")
        self.seconds = seconds


def hashed(kind: str, text: str) -> str:
    """How an account's name, an address, or a device is written in counters."""
    return keyed_hash(settings.HMAC_KEY, f"failed logins: {kind}", text).hex()


def of_login(
    username: str, address: str, *, device: str | None, limits: Limits = Limits()
) -> list[Counter]:
    """The counters for a login from `address`, or from a device that the user is known to have.

    A known device has a counter of its own, and depends on no other: no stranger can lock it out.
    """
    account = hashed("account", username)
    together, period = limits.per_account_and_caller, limits.period
    if device is not None:
        return [Counter(account, hashed("device", device), together, period)]
    caller = hashed("address", network_of(address))
    return [
        Counter(account, caller, together, period),
        Counter("", caller, limits.per_caller, period),
        Counter(account, "", limits.per_account, period),
    ]


def of_session(username: str, purpose: str, *, limits: Limits = Limits()) -> list[Counter]:
    """The counter for a `purpose` such as a password change, within somebody's session."""
    caller = hashed("purpose", purpose)
    return [
        Counter(hashed("account", username), caller, limits.per_account_and_caller, limits.period)
    ]


def of_password_change(username: str) -> list[Counter]:
    """The counter for the current password, which a password change asks for."""
    return of_session(username, "password change")


@contextmanager
def counted(counters: Sequence[Counter], now: datetime | None = None) -> Iterator[None]:
    """Count the block as a failed attempt, unless it ends without an exception.

    Raises:
        TooManyAttempts: a limit is reached. The block is not entered.
    """
    now = now or database_time()
    _refuse_if_reached(counters, now)
    with _taking_turns():
        _count(counters, now)
        yield
        _give_back(counters)


def is_at_limit(counters: Sequence[Counter], now: datetime | None = None) -> bool:
    """Whether the next attempt would be refused."""
    return any(_reached(counters, now or database_time()))


def unlock(*, username: str | None = None, address: str | None = None) -> int:
    """Forget the failures of an account, or of an address. Returns the number of counters."""
    which = Q()
    if username is not None:
        which &= Q(account=hashed("account", username))
    if address is not None:
        which &= Q(caller=hashed("address", network_of(address)))
    deleted, _ = LoginFailures.objects.filter(which).delete()
    return deleted


@contextmanager
def _taking_turns() -> Iterator[None]:
    """Hash few passwords at once, and hold no connection to the database while waiting for that.

    Hashing takes long, and connections are few: a flood of logins would stop every other request.
    """
    if not connection.in_atomic_block:
        connection.close()
    if not _turns.acquire(timeout=_LONGEST_WAIT_SECONDS):
        raise TooManyAttempts(math.ceil(_LONGEST_WAIT_SECONDS))
    try:
        yield
    finally:
        _turns.release()


def _reached(counters: Sequence[Counter], now: datetime) -> list[LoginFailures]:
    reached = Q()
    for each in counters:
        reached |= Q(account=each.account, caller=each.caller, count__gte=each.limit)
    return list(LoginFailures.objects.filter(reached, until__gt=now))


def _refuse_if_reached(counters: Sequence[Counter], now: datetime) -> None:
    if reached := _reached(counters, now):
        longest = max(each.until for each in reached) - now
        raise TooManyAttempts(math.ceil(longest.total_seconds()))


def _count(counters: Sequence[Counter], now: datetime) -> None:
    LoginFailures.objects.filter(until__lte=now).delete()
    with transaction.atomic():
        # Always in the same order, so that two transactions never wait for each other.
        for counter in sorted(counters):
            _count_one(counter, now)


def _count_one(counter: Counter, now: datetime) -> None:
    failures, _ = LoginFailures.objects.select_for_update().get_or_create(
        account=counter.account,
        caller=counter.caller,
        defaults={"until": now + counter.period},
    )
    if failures.until <= now:
        failures.count, failures.until = 0, now + counter.period
    if failures.count >= counter.limit:  # Others were faster.
        raise TooManyAttempts(math.ceil((failures.until - now).total_seconds()))
    failures.count += 1
    if failures.count == counter.limit:
        failures.until = now + counter.period
    failures.save(update_fields=["count", "until"])


def _give_back(counters: Sequence[Counter]) -> None:
    """Uncount an attempt that was right; one's own failures before it are forgiven."""
    for counter in sorted(counters):
        ours = LoginFailures.objects.filter(account=counter.account, caller=counter.caller)
        if counter.account and counter.caller:
            ours.delete()
        else:
            ours.filter(count__gt=0).update(count=F("count") - 1)
