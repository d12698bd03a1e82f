"""Which request an underwriter could take next."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import islice
from typing import Final
from uuid import UUID

from readmodels.models import PendingRequest

MOST_OFFERED: Final = 50


def ids_to_claim(
    username: str, *, is_lead: bool, now: datetime, limit: int = MOST_OFFERED
) -> Sequence[UUID]:
    """The ids of requests that nobody holds, the most urgent first, as far as is known here.

    Left out are those on which the underwriter has given an opinion and, but for leads, those that
    were left to leads.
    """
    free = PendingRequest.objects.waiting().unclaimed(now).oldest_first()
    if not is_lead:
        free = free.filter(escalated_by="")
    rows = free.values_list("id", "votes").iterator(chunk_size=limit)
    others = (id_ for id_, votes in rows if all(vote["by"] != username for vote in votes))
    return list(islice(others, limit))
