"""When a proposal is the one that waits already, and which version the next one follows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import reduce
from typing import Any

import pytest

from loans.domain.lending_policy import (
    POLICY_ID,
    ConfirmPolicy,
    OneAtATime,
    PolicyCommand,
    PublishPolicy,
    Versions,
    WithdrawPolicy,
    decide,
    evolve,
    is_proposed_already,
    latest,
)
from loans.domain.policy import VERSION_0, Policy, PolicyInForce

AT = datetime(2026, 11, 3, 9, 30, tzinfo=UTC)
LATER = AT + timedelta(minutes=5)
STRICTER = Policy(approve_from=9)


def publish(issued_at: datetime = AT, **changes: Any) -> PublishPolicy:
    fields = {"by": "pat", "why": "Why", "effective_at": issued_at, "policy": STRICTER}
    return PublishPolicy(id=POLICY_ID, issued_at=issued_at, **{**fields, **changes})


def after(*commands: PolicyCommand) -> Versions:
    versions: Versions = ()
    for command in commands:
        versions = reduce(evolve, decide(command, versions), versions)
    return versions


@pytest.mark.parametrize(
    "again",
    [publish(), publish(LATER), publish(LATER, effective_at=AT)],
    ids=["the same", "at once, later", "at once, sent late"],
)
def test_what_is_sent_again_is_one_proposal(again: PublishPolicy) -> None:
    versions = after(publish())
    assert is_proposed_already(again, versions)
    assert decide(again, versions) == []


@pytest.mark.parametrize(
    "other",
    [
        publish(LATER, by="paul"),
        publish(LATER, why="Another"),
        publish(LATER, policy=Policy(approve_from=8)),
        publish(LATER, effective_at=LATER + timedelta(days=1)),
    ],
    ids=["by another", "for another reason", "another policy", "at another time"],
)
def test_what_says_something_else_must_wait(other: PublishPolicy) -> None:
    versions = after(publish())
    assert not is_proposed_already(other, versions)
    with pytest.raises(OneAtATime):
        decide(other, versions)


def test_what_is_confirmed_waits_no_more() -> None:
    confirm = ConfirmPolicy(id=POLICY_ID, issued_at=LATER, by="paul", version=1)
    assert not is_proposed_already(publish(), after(publish(), confirm))
    assert not is_proposed_already(publish(), after())


def test_the_next_version_follows_the_latest_that_was_not_withdrawn() -> None:
    withdraw = WithdrawPolicy(id=POLICY_ID, issued_at=LATER, by="paul", version=1)
    assert latest(after(publish())) == PolicyInForce(1, STRICTER)
    assert latest(after(publish(), withdraw)) == VERSION_0
