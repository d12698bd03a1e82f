"""The decider of the lending policy: one person proposes, another confirms."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from loans.domain.events import PolicyConfirmed, PolicyEvent, PolicyProposed, PolicyWithdrawn
from loans.domain.lending_policy import (
    POLICY_ID,
    AlreadyConfirmed,
    AlreadyWithdrawn,
    CodeMissing,
    ConfirmPolicy,
    EffectiveInThePast,
    InForce,
    OneAtATime,
    OwnPolicy,
    PolicyCommand,
    PublishPolicy,
    UnknownVersion,
    WithdrawPolicy,
    decide,
    fold,
    in_force,
)
from loans.domain.loan_request import Rejection
from loans.domain.policy import VERSION_0, Policy, Reason

MONDAY = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
DAY = timedelta(days=1)
STRICTER = Policy(approve_from=8)


def publish(by: str = "pat", *, at: datetime = MONDAY, **fields: Any) -> PublishPolicy:
    defaults = {"why": "Be stricter.", "effective_at": at, "policy": STRICTER}
    return PublishPolicy(id=POLICY_ID, issued_at=at, by=by, **{**defaults, **fields})


def confirm(by: str = "paul", version: int = 1, *, at: datetime = MONDAY) -> ConfirmPolicy:
    return ConfirmPolicy(id=POLICY_ID, issued_at=at, by=by, version=version)


def withdraw(by: str = "paul", version: int = 1, *, at: datetime = MONDAY) -> WithdrawPolicy:
    return WithdrawPolicy(id=POLICY_ID, issued_at=at, by=by, version=version)


def proposed(version: int = 1, by: str = "pat", **fields: Any) -> PolicyProposed:
    defaults = {"why": "Be stricter.", "effective_at": MONDAY, "policy": STRICTER}
    return PolicyProposed(
        id=POLICY_ID, occurred_at=MONDAY, version=version, by=by, **{**defaults, **fields}
    )


def confirmed(version: int = 1, by: str = "paul", *, at: datetime = MONDAY) -> PolicyConfirmed:
    return PolicyConfirmed(id=POLICY_ID, occurred_at=at, version=version, by=by)


def withdrawn(version: int = 1, by: str = "paul") -> PolicyWithdrawn:
    return PolicyWithdrawn(id=POLICY_ID, occurred_at=MONDAY, version=version, by=by)


def then(events: Sequence[PolicyEvent], command: PolicyCommand, *expected: PolicyEvent) -> None:
    assert decide(command, fold(events)) == list(expected)


def then_rejected(
    events: Sequence[PolicyEvent], command: PolicyCommand, rejection: type[Rejection]
) -> None:
    with pytest.raises(rejection):
        decide(command, fold(events))


class TestPublishing:
    def test_the_first_version_is_1(self) -> None:
        then([], publish(), proposed())

    def test_the_next_one_is_2(self) -> None:
        then([proposed(), confirmed()], publish(), proposed(2))

    def test_the_number_of_a_withdrawn_version_is_not_used_again(self) -> None:
        then([proposed(), withdrawn()], publish(), proposed(2))

    def test_the_same_again_is_the_same(self) -> None:
        then([proposed()], publish())

    @pytest.mark.parametrize(
        "other", [publish("paul"), publish(why="Other."), publish(policy=Policy())]
    )
    def test_one_version_waits_at_a_time(self, other: PublishPolicy) -> None:
        then_rejected([proposed()], other, OneAtATime)

    def test_it_is_not_in_force_before_it_is_published(self) -> None:
        then_rejected([], publish(effective_at=MONDAY - timedelta(seconds=61)), EffectiveInThePast)

    def test_a_minute_is_forgiven(self) -> None:
        at = MONDAY - timedelta(seconds=60)
        then([], publish(effective_at=at), proposed(effective_at=at))

    def test_the_codes_of_the_version_before_must_stay(self) -> None:
        then_rejected([], publish(policy=Policy(reasons={})), CodeMissing)
        more = Policy(reasons={**Policy().reasons, "x": Reason(staff="x", applicant="x")})
        then_rejected([proposed(policy=more), confirmed()], publish(), CodeMissing)

    def test_those_of_a_withdrawn_version_need_not(self) -> None:
        more = Policy(reasons={**Policy().reasons, "x": Reason(staff="x", applicant="x")})
        then([proposed(policy=more), withdrawn()], publish(), proposed(2))


class TestConfirming:
    def test_somebody_else_does_it(self) -> None:
        then([proposed()], confirm("paul"), confirmed(by="paul"))

    def test_who_proposed_it_cannot(self) -> None:
        then_rejected([proposed()], confirm("pat"), OwnPolicy)

    def test_once_is_enough(self) -> None:
        then([proposed(), confirmed(by="paul")], confirm("paul"))

    def test_a_third_person_is_told_who_did(self) -> None:
        then_rejected([proposed(), confirmed(by="paul")], confirm("pia"), AlreadyConfirmed)

    def test_what_was_withdrawn_cannot_be_confirmed(self) -> None:
        then_rejected([proposed(), withdrawn()], confirm(), AlreadyWithdrawn)

    def test_there_must_be_such_a_version(self) -> None:
        then_rejected([proposed()], confirm(version=2), UnknownVersion)


class TestWithdrawing:
    LATER = proposed(effective_at=MONDAY + 7 * DAY)

    @pytest.mark.parametrize("by", ["pat", "paul", "pia"])
    def test_anyone_withdraws_what_is_proposed(self, by: str) -> None:
        then([proposed()], withdraw(by), withdrawn(by=by))

    @pytest.mark.parametrize("by", ["pat", "paul", "pia"])
    def test_and_what_is_not_in_force_yet(self, by: str) -> None:
        then([self.LATER, confirmed()], withdraw(by), withdrawn(by=by))

    def test_what_is_in_force_stays(self) -> None:
        then_rejected([proposed(), confirmed()], withdraw(), InForce)
        at = MONDAY + 7 * DAY
        then_rejected([self.LATER, confirmed()], withdraw(at=at), InForce)

    def test_so_does_what_was(self) -> None:
        events: list[PolicyEvent] = [proposed(), confirmed(), proposed(2), confirmed(2)]
        then_rejected(events, withdraw(version=1), InForce)

    def test_once_is_enough(self) -> None:
        then([proposed(), withdrawn()], withdraw())

    def test_there_must_be_such_a_version(self) -> None:
        then_rejected([], withdraw(), UnknownVersion)


class TestInForce:
    def test_is_what_held_before_there_was_a_policy(self) -> None:
        assert in_force((), MONDAY) is VERSION_0

    def test_is_not_what_is_only_proposed(self) -> None:
        assert in_force(fold([proposed()]), MONDAY + DAY) is VERSION_0

    def test_is_a_version_from_the_moment_that_it_names(self) -> None:
        versions = fold([proposed(effective_at=MONDAY + DAY), confirmed()])
        assert in_force(versions, MONDAY + DAY - timedelta(microseconds=1)) is VERSION_0
        assert in_force(versions, MONDAY + DAY).version == 1
        assert in_force(versions, MONDAY + DAY).policy == STRICTER

    def test_is_it_from_its_confirmation_if_that_is_later(self) -> None:
        versions = fold([proposed(), confirmed(at=MONDAY + DAY)])
        assert in_force(versions, MONDAY + DAY - timedelta(microseconds=1)) is VERSION_0
        assert in_force(versions, MONDAY + DAY).version == 1

    def test_is_the_highest_of_several(self) -> None:
        next_week = proposed(effective_at=MONDAY + 7 * DAY)
        versions = fold([next_week, confirmed(), proposed(2), confirmed(2)])
        assert in_force(versions, MONDAY).version == 2
        assert in_force(versions, MONDAY + 8 * DAY).version == 2

    def test_is_not_what_was_withdrawn(self) -> None:
        later = proposed(2, effective_at=MONDAY + DAY)
        versions = fold([proposed(), confirmed(), later, confirmed(2), withdrawn(2)])
        assert in_force(versions, MONDAY + 2 * DAY).version == 1


PEOPLE = st.sampled_from(["pat", "paul", "pia"])
NUMBERS = st.integers(1, 4)
MOMENTS = st.integers(0, 5)
COMMANDS = st.one_of(
    st.tuples(st.just(publish), PEOPLE, MOMENTS),
    st.tuples(st.just(confirm), PEOPLE, NUMBERS),
    st.tuples(st.just(withdraw), PEOPLE, NUMBERS),
)


@for_all(st.lists(COMMANDS, max_size=15))
def test_what_is_in_force_was_confirmed_by_two_people(commands: list[tuple[Any, str, int]]) -> None:
    events: list[PolicyEvent] = []
    for day, (make, by, number) in enumerate(commands):
        at = MONDAY + day * DAY
        command = (
            publish(by, at=at, effective_at=at + number * DAY)
            if make is publish
            else make(by, number, at=at)
        )
        try:
            new = decide(command, fold(events))
        except Rejection:
            continue
        events += new
        assert decide(command, fold(events)) == [], "a second time, nothing happens"

    versions = fold(events)
    assert [each.number for each in versions] == list(range(1, len(versions) + 1))
    for day in range(25):
        at = MONDAY + day * DAY
        current = in_force(versions, at)
        if current.version:
            version = versions[current.version - 1]
            assert version.confirmed_by not in (None, version.proposed_by)
            assert version.effective_at <= at
