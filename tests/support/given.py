"""Given / when / then for the decider."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest

from loans.domain.commands import LoanCommand
from loans.domain.events import LoanEvent
from loans.domain.loan_request import Rejection, decide, fold
from loans.domain.policy import VERSION_0, PolicyInForce


@dataclass(frozen=True)
class Given:
    """The events that have happened so far."""

    events: Sequence[LoanEvent]
    in_force: PolicyInForce = VERSION_0

    def under(self, in_force: PolicyInForce) -> Given:
        """What is decided is decided by this policy."""
        return replace(self, in_force=in_force)

    def when(self, command: LoanCommand) -> When:
        return When(self.events, command, self.in_force)


@dataclass(frozen=True)
class When:
    """The command that is given now."""

    events: Sequence[LoanEvent]
    command: LoanCommand
    in_force: PolicyInForce

    def then(self, *expected: LoanEvent) -> None:
        """It causes exactly these events, in this order."""
        assert decide(self.command, fold(self.events), self.in_force) == list(expected)

    def then_nothing(self) -> None:
        """It was carried out before: it causes no events."""
        self.then()

    def then_rejected(self, rejection: type[Rejection], message: str = "") -> None:
        """It is rejected, with a message that contains `message`."""
        with pytest.raises(rejection) as refused:
            decide(self.command, fold(self.events), self.in_force)
        assert message in str(refused.value)


def given(*events: LoanEvent) -> Given:
    """The first step of a test; without events the request does not exist yet."""
    return Given(events)
