"""The decider of the lending policy: one person proposes a version, another one confirms it.

Pure, like that of a loan request. A version is in force from the moment that it names, or from its
confirmation if that comes later, until a higher one is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import reduce
from typing import Annotated, Any, Final, assert_never
from uuid import NAMESPACE_URL, UUID, uuid5

from pydantic import AwareDatetime, Field

from loans.domain.commands import Command
from loans.domain.events import PolicyConfirmed, PolicyEvent, PolicyProposed, PolicyWithdrawn
from loans.domain.fields import Username, Words
from loans.domain.loan_request.rejections import Rejection
from loans.domain.policy import VERSION_0, Policy, PolicyInForce

POLICY_ID: Final = uuid5(NAMESPACE_URL, "Policy:lending")
"""The `id` of the policy's commands and events: there is one policy."""

# A form takes a while to be sent, and clocks differ.
FORGIVEN: Final = timedelta(minutes=1)

VersionNumber = Annotated[int, Field(ge=1, le=2**31 - 1)]


class _PolicyCommand(Command):
    """A command about the lending policy. `by` is the username."""

    by: Username


class PublishPolicy(_PolicyCommand):
    """Propose a version of the policy, to be in force from `effective_at` on."""

    why: Words
    effective_at: AwareDatetime
    policy: Policy

    @property
    def command_id(self) -> UUID:
        # What was withdrawn may be proposed again. What is proposed is recognised by the state.
        return uuid5(self.id, f"{type(self).__name__}\n{self.by}\n{self.issued_at.isoformat()}")


class ConfirmPolicy(_PolicyCommand):
    """Confirm the version that somebody else has proposed."""

    version: VersionNumber

    @property
    def command_id(self) -> UUID:
        return uuid5(self.id, f"{type(self).__name__}\n{self.by}\n{self.version}")


class WithdrawPolicy(_PolicyCommand):
    """Withdraw a version that is not in force yet."""

    version: VersionNumber

    @property
    def command_id(self) -> UUID:
        return uuid5(self.id, f"{type(self).__name__}\n{self.by}\n{self.version}")


PolicyCommand = PublishPolicy | ConfirmPolicy | WithdrawPolicy


class UnknownVersion(Rejection):
    """There is no such version."""

    def __init__(self, version: int) -> None:
        super().__init__(f"There is no version {version} of the lending policy.")


class OneAtATime(Rejection):
    """Another version waits for its confirmation."""

    def __init__(self, version: int) -> None:
        super().__init__(
            f"Version {version} waits for its confirmation. Confirm or withdraw it first."
        )


class EffectiveInThePast(Rejection):
    """A version cannot be in force before it was proposed."""

    def __init__(self) -> None:
        super().__init__("A version cannot be in force from a moment in the past.")


class CodeMissing(Rejection):
    """Decisions name codes for ever, so each version must have those of the one before."""

    def __init__(self, codes: Iterable[str]) -> None:
        super().__init__(
            f"The version before has the codes {', '.join(sorted(codes))}. Decisions name them: "
            "set `active` to false instead of leaving them out."
        )


class OwnPolicy(Rejection):
    """Who has proposed a version cannot confirm it."""

    def __init__(self) -> None:
        super().__init__("You have proposed this version: somebody else must confirm it.")


class AlreadyConfirmed(Rejection):
    """The version is confirmed, by somebody else."""

    def __init__(self, version: Version) -> None:
        super().__init__(f"Version {version.number} was confirmed by {version.confirmed_by}.")


class AlreadyWithdrawn(Rejection):
    """The version was withdrawn."""

    def __init__(self, version: Version) -> None:
        super().__init__(f"Version {version.number} was withdrawn by {version.withdrawn_by}.")


class InForce(Rejection):
    """What is in force, or was, cannot be withdrawn."""

    def __init__(self, version: int) -> None:
        super().__init__(
            f"Version {version} has been in force: decisions name it. Publish another version."
        )


@dataclass(frozen=True, slots=True)
class Version:
    """A version of the policy, and who has done what with it."""

    number: int
    policy: Policy
    proposed_by: str
    proposed_at: datetime
    why: str
    effective_at: datetime
    confirmed_by: str | None = None
    confirmed_at: datetime | None = None
    withdrawn_by: str | None = None
    withdrawn_at: datetime | None = None

    @property
    def is_proposed(self) -> bool:
        """Whether it waits for its confirmation."""
        return self.confirmed_by is None and self.withdrawn_by is None

    @property
    def is_at_once(self) -> bool:
        """Whether it waits for nothing but its confirmation."""
        return self.effective_at <= self.proposed_at

    @property
    def in_force_from(self) -> datetime | None:
        """From when on it is in force; `None` if it is not confirmed, or withdrawn."""
        if self.confirmed_at is None or self.withdrawn_by is not None:
            return None
        return max(self.effective_at, self.confirmed_at)

    def is_in_force_by(self, at: datetime) -> bool:
        """Whether it has come into force by then. A higher version may have followed."""
        return self.in_force_from is not None and self.in_force_from <= at


Versions = tuple[Version, ...]
"""The state: all versions. The number of each is its place, from 1 on."""


def version_in_force(versions: Versions, at: datetime) -> Version | None:
    """The highest version that is in force at a moment, if there is one."""
    return next((each for each in reversed(versions) if each.is_in_force_by(at)), None)


def in_force(versions: Versions, at: datetime) -> PolicyInForce:
    """The policy in force at a moment; the built-in one if no version is."""
    version = version_in_force(versions, at)
    return VERSION_0 if version is None else PolicyInForce(version.number, version.policy)


def latest(versions: Versions) -> PolicyInForce:
    """The highest version that was not withdrawn, which the next one follows."""
    for version in reversed(versions):
        if version.withdrawn_by is None:
            return PolicyInForce(version.number, version.policy)
    return VERSION_0


def is_proposed_already(command: PublishPolicy, versions: Versions) -> bool:
    """Whether the version that waits for its confirmation is what `command` proposes."""
    if not versions or not versions[-1].is_proposed:
        return False
    version, is_at_once = versions[-1], command.effective_at <= command.issued_at
    if (command.by, command.why, command.policy) != (
        version.proposed_by,
        version.why,
        version.policy,
    ):
        return False
    # "At once" is another moment each time that it is said.
    return command.effective_at == version.effective_at or (is_at_once and version.is_at_once)


def decide(command: PolicyCommand, versions: Versions) -> list[PolicyEvent]:
    """The events that `command` causes; none if it was carried out before.

    Raises:
        Rejection: the command cannot be carried out.
    """
    match command:
        case PublishPolicy():
            return _publish(command, versions)
        case ConfirmPolicy():
            return _confirm(command, version_numbered(command.version, versions))
        case WithdrawPolicy():
            return _withdraw(command, version_numbered(command.version, versions))
        case _:
            assert_never(command)


def _publish(command: PublishPolicy, versions: Versions) -> list[PolicyEvent]:
    last = versions[-1] if versions else None
    if last is not None and last.is_proposed:
        if is_proposed_already(command, versions):
            return []
        raise OneAtATime(last.number)
    if command.effective_at < command.issued_at - FORGIVEN:
        raise EffectiveInThePast
    if missing := latest(versions).policy.codes - command.policy.codes:
        raise CodeMissing(missing)
    return [
        PolicyProposed(
            id=command.id,
            occurred_at=command.issued_at,
            version=len(versions) + 1,
            by=command.by,
            why=command.why,
            effective_at=command.effective_at,
            policy=command.policy,
        )
    ]


def _confirm(command: ConfirmPolicy, version: Version) -> list[PolicyEvent]:
    if version.confirmed_by == command.by:
        return []
    if version.withdrawn_by is not None:
        raise AlreadyWithdrawn(version)
    if version.confirmed_by is not None:
        raise AlreadyConfirmed(version)
    if version.proposed_by == command.by:
        raise OwnPolicy
    return [
        PolicyConfirmed(
            id=command.id,
            occurred_at=command.issued_at,
            version=version.number,
            by=command.by,
        )
    ]


def _withdraw(command: WithdrawPolicy, version: Version) -> list[PolicyEvent]:
    if version.withdrawn_by is not None:
        return []
    if version.is_in_force_by(command.issued_at):
        raise InForce(version.number)
    return [
        PolicyWithdrawn(
            id=command.id,
            occurred_at=command.issued_at,
            version=version.number,
            by=command.by,
        )
    ]


def evolve(versions: Versions, event: PolicyEvent) -> Versions:
    """The versions after `event`."""
    match event:
        case PolicyProposed():
            return (*versions, _proposed(event))
        case PolicyConfirmed():
            return _changed(
                versions,
                event.version,
                confirmed_by=event.by,
                confirmed_at=event.occurred_at,
            )
        case PolicyWithdrawn():
            return _changed(
                versions,
                event.version,
                withdrawn_by=event.by,
                withdrawn_at=event.occurred_at,
            )
        case _:
            assert_never(event)


def fold(events: Iterable[PolicyEvent]) -> Versions:
    """The versions after all of `events`, oldest first."""
    none: Versions = ()
    return reduce(evolve, events, none)


def _proposed(event: PolicyProposed) -> Version:
    return Version(
        number=event.version,
        policy=event.policy,
        proposed_by=event.by,
        proposed_at=event.occurred_at,
        why=event.why,
        effective_at=event.effective_at,
    )


def _changed(versions: Versions, number: int, **changes: Any) -> Versions:
    return tuple(replace(each, **changes) if each.number == number else each for each in versions)


def version_numbered(number: int, versions: Versions) -> Version:
    """The version with this number.

    Raises:
        UnknownVersion: there is none.
    """
    if number > len(versions):
        raise UnknownVersion(number)
    return versions[number - 1]
