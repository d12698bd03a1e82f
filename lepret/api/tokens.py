"""API tokens. Each is shown once, when it is made; only its hash is stored.

A token is 32 random bytes, so that an unsalted hash is enough to hide it. Timing attacks do not
work on the look-up, since it compares hashes.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final

from django.contrib.auth.models import User
from django.db.models import Q

from lepret.common.database_clock import database_time
from lepret.models import ApiToken, Scope

# People, and programs that scan repositories for secrets, recognise a token by this.
PREFIX: Final = "lepret_"
RANDOM_BYTES: Final = 32
# So that not every call writes to the database.
LAST_USE_IS_NOTED_EVERY: Final = timedelta(minutes=1)


def issue(
    user: User, *, name: str, scopes: Collection[Scope], expires_at: datetime | None = None
) -> tuple[str, ApiToken]:
    """Make a token. Returns its text, which is not stored, and its row."""
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
    """The stored token, if it is usable now; records its use."""
    now = database_time()
    found = (
        ApiToken.objects.usable(now).select_related("user").filter(digest=_digest(token)).first()
    )
    if found is not None:
        _note_use(found, now)
    return found


def revoke(token: ApiToken) -> None:
    """Revoke a token. If it already is, the earlier time stays."""
    ApiToken.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=database_time())


def _digest(token: str) -> str:
    return sha256(token.encode()).hexdigest()


def _note_use(token: ApiToken, now: datetime) -> None:
    if token.last_used_at is not None and now - token.last_used_at < LAST_USE_IS_NOTED_EVERY:
        return
    # The same condition in SQL, so that only one of several concurrent calls writes.
    unnoted = Q(last_used_at=None) | Q(last_used_at__lte=now - LAST_USE_IS_NOTED_EVERY)
    ApiToken.objects.filter(unnoted, pk=token.pk).update(last_used_at=now)
