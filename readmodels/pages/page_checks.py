"""What decides whether an open page goes on being updated, asked in threads of a limited number."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Final
from uuid import UUID
from weakref import WeakKeyDictionary

from channels.db import database_sync_to_async
from django.contrib.auth import get_user_model

from lepret.staff.access import Refusal, refusal_to_session
from readmodels.models import LoanStatus
from readmodels.pages.event_history import HistoryGone, is_recorded

# However many pages ask for requests that do not exist, the event store answers this many at once.
_MOST_LOOKUPS: Final = 4

_Checks = dict[tuple[str | None, str | None], asyncio.Task[Refusal | None]]
_recent: WeakKeyDictionary[asyncio.AbstractEventLoop, _Checks] = WeakKeyDictionary()


async def refusal_now(
    session_key: str | None, shown_to: str | None, *, asked_from: str | None = None
) -> Refusal | None:
    """As `lepret.staff.access.refusal_to_session`."""
    return await database_sync_to_async(refusal_to_session)(
        session_key, shown_to=shown_to, asked_from=asked_from
    )


async def refusal_lately(
    session_key: str | None, shown_to: str | None, *, seconds: float
) -> Refusal | None:
    """The same, asked at most once in this many seconds for all pages of a session."""
    loop = asyncio.get_running_loop()
    checks, pages = _recent.setdefault(loop, {}), (session_key, shown_to)
    if pages not in checks:
        checks[pages] = loop.create_task(refusal_now(session_key, shown_to))
        loop.call_later(seconds, checks.pop, pages)
    # Other pages wait for it too: none of them may cancel it.
    return await asyncio.shield(checks[pages])


async def username_of(user_id: str) -> str | None:
    """The username of a user, by primary key; `None` if there is no such user (any more)."""
    return await database_sync_to_async(_username_of)(user_id)


async def is_there(loan_request_id: UUID) -> bool:
    """Whether there is such a loan request, in the read model or as yet in the event store only.

    Not one whose events are gone, as far as the read model does not have it.

    Raises:
        HistoryUnavailable: the event store did not answer in time.
    """
    return await _is_in_read_model(loan_request_id) or await _is_in_event_store(loan_request_id)


def _username_of(user_id: str) -> str | None:
    user = get_user_model().objects.filter(pk=user_id).first()
    return user.get_username() if user else None


def _is_recorded(loan_request_id: UUID) -> bool:
    try:
        return is_recorded(loan_request_id)
    except HistoryGone:
        return False


def _has_status(loan_request_id: UUID) -> bool:
    return LoanStatus.objects.of(loan_request_id) is not None


# Each in threads of their own: a slow event store holds up no page whose request is known.
_is_in_read_model = database_sync_to_async(
    _has_status,
    thread_sensitive=False,
    executor=ThreadPoolExecutor(_MOST_LOOKUPS, thread_name_prefix="known-requests"),
)
_is_in_event_store = database_sync_to_async(
    _is_recorded,
    thread_sensitive=False,
    executor=ThreadPoolExecutor(_MOST_LOOKUPS, thread_name_prefix="recorded-requests"),
)
