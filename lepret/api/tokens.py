"""Tokens: made, shown once, and known again by their hash.

A token is 32 random bytes, so that a plain hash hides it, and looking that hash up tells nothing by
how long it takes: what is compared is not what was sent.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final

from django.contrib.auth.models import User
from django.db.models import Q
from django.utils import timezone

from lepret.models import ApiToken, Scope

# By which those who scan repositories for secrets, and people, know one.
PREFIX: Final = "lepret_"
RANDOM_BYTES: Final = 32
# So that not every call is a write.
LAST_USE_IS_NOTED_EVERY: Final = timedelta(minutes=1)


def issue(
    user: User, *, name: str, scopes: Collection[Scope], expires_at: datetime | None = None
) -> tuple[str, ApiToken]:
    """A new token, which can be read here and never again, with what is kept of it."""
    token = PREFIX + secrets.token_urlsafe(RANDOM_BYTES)
    kept = ApiToken.objects.create(
        user=user,
        name=name,
        digest=_digest(token),
        scopes=sorted(scopes),
        expires_at=expires_at,
    )
    return token, kept


def find(token: str) -> ApiToken | None:
    """What is known of a token that can be used now; notes the use."""
    now = timezone.now()
    found = (
        ApiToken.objects.usable(now).select_related("user").filter(digest=_digest(token)).first()
    )
    if found is not None:
        _note_use(found, now)
    return found


def revoke(token: ApiToken) -> None:
    """From now on it is not known; one that was revoked before stays so since then."""
    ApiToken.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=timezone.now())


def _digest(token: str) -> str:
    return sha256(token.encode()).hexdigest()


def _note_use(token: ApiToken, now: datetime) -> None:
    if token.last_used_at is not None and now - token.last_used_at < LAST_USE_IS_NOTED_EVERY:
        return
    # The condition, once more: of many calls at once, one writes.
    unnoted = Q(last_used_at=None) | Q(last_used_at__lte=now - LAST_USE_IS_NOTED_EVERY)
    ApiToken.objects.filter(unnoted, pk=token.pk).update(last_used_at=now)
