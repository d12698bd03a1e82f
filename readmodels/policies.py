"""The lending policy as the read side knows it: in whose words pages say what was decided.

A version never changes, so it is read once a minute at most; that often, since an event store that
went back to a backup may have another one of the same number.
"""

from __future__ import annotations

import time
from datetime import datetime
from functools import lru_cache
from typing import Final

from loans.domain.policy import VERSION_0, Policy, PolicyInForce
from readmodels.models import LendingPolicy

# What the column of the version can hold.
HIGHEST_VERSION: Final = 2**31 - 1

_KEPT_SECONDS: Final = 60


class NotKnownYet(Exception):
    """The read model does not have the version yet."""


def policy_of(version: int) -> PolicyInForce | None:
    """A version of the policy; `None` as long as the read model does not have it."""
    if version == VERSION_0.version:
        return VERSION_0
    try:
        return known_policy(version, int(time.monotonic() / _KEPT_SECONDS))
    except NotKnownYet:
        return None


def words_of(version: int) -> Policy:
    """The policy whose words are to be used: general ones as long as a version is not known."""
    return (policy_of(version) or VERSION_0).policy


def policy_in_force(at: datetime) -> PolicyInForce:
    """The policy in force at a moment, as far as the read model knows: one query."""
    return policy_of(LendingPolicy.objects.in_force(at)) or VERSION_0


@lru_cache(maxsize=100)
def known_policy(version: int, minute: int) -> PolicyInForce:
    """A version, read once for each minute.

    Raises:
        NotKnownYet: the read model does not have it.
    """
    row = LendingPolicy.objects.filter(version=version).first()
    if row is None:
        raise NotKnownYet
    return PolicyInForce(version, Policy.model_validate(row.policy))
