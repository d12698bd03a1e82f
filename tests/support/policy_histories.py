"""Histories for property tests, made by the decider itself from random commands.

The policy changes while they are made. What is refused leaves no events.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from hypothesis import strategies as st

from loans.domain.commands import (
    ApproveLoan,
    ClaimRequest,
    DenyLoan,
    LoanCommand,
    ParkCreditCheck,
    RecordCreditScore,
    RequestLoan,
)
from loans.domain.credit_report import CreditReport
from loans.domain.events import AutoApproved, AutoDenied, LoanEvent, ManualReviewRequired
from loans.domain.loan_request import Rejection, decide, fold
from loans.domain.policy import VERSION_0, Factor, Policy, PolicyInForce
from tests.support.loans import AT

# Few, so that many are at a limit, and some just above.
AMOUNTS: Final = st.sampled_from([1, 999, 1_000, 1_001, 5_000, 5_001])
FACTORS: Final = ("late_payments", "high_balances", "unknown_here")
_TOLD: Final = st.sampled_from(FACTORS[:2])

REPORTS: Final = st.builds(
    CreditReport,
    score=st.integers(1, 10),
    factors=st.lists(st.sampled_from(FACTORS), max_size=2, unique=True).map(tuple),
)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """Any thresholds and limits."""
    deny_up_to = draw(st.integers(0, 10))
    automatic_up_to = draw(st.none() | AMOUNTS)
    above = None
    if automatic_up_to is not None:
        above = draw(st.none() | AMOUNTS.map(lambda amount: max(amount, automatic_up_to)))
    return Policy(
        deny_up_to=deny_up_to,
        approve_from=draw(st.integers(deny_up_to + 1, 11)),
        deny_unexplained=draw(st.booleans()),
        automatic_up_to=automatic_up_to,
        four_eyes_above=above,
        factors={code: Factor(applicant="Why.") for code in draw(st.sets(_TOLD))},
    )


@dataclass(frozen=True)
class History:
    """The events of all requests in their order, and the policies by their versions."""

    policies: Sequence[PolicyInForce]
    events: list[LoanEvent] = field(default_factory=list)

    def of_each(self) -> dict[UUID, list[LoanEvent]]:
        """The events of each request."""
        of_each: defaultdict[UUID, list[LoanEvent]] = defaultdict(list)
        for event in self.events:
            of_each[event.id].append(event)
        return of_each

    def assessed_under(self, version: int) -> list[LoanEvent]:
        """The events of the requests whose reports were assessed under a version."""
        ids = {
            event.id
            for event in self.events
            if isinstance(event, AutoApproved | AutoDenied | ManualReviewRequired)
            and event.policy == version
        }
        return [event for event in self.events if event.id in ids]

    def carry_out(self, command: LoanCommand, in_force: PolicyInForce) -> None:
        """Add the events of a command under a policy."""
        so_far = fold(event for event in self.events if event.id == command.id)
        with suppress(Rejection):
            self.events.extend(decide(command, so_far, in_force))


@st.composite
def histories(draw: st.DrawFn, *, versions: int = 3) -> History:
    """What came of random commands, under up to this many versions one after the other."""
    later = draw(st.lists(policies(), max_size=versions - 1))
    history = History(
        [VERSION_0, *(PolicyInForce(number, policy) for number, policy in enumerate(later, 1))]
    )
    for number, in_force in enumerate(history.policies):
        for minute, move in enumerate(draw(_MOVES)):
            at = AT + timedelta(hours=number, minutes=minute)
            history.carry_out(_command(*move, at=at), in_force)
    return history


_MOVES: Final = st.lists(
    st.tuples(
        st.integers(1, 4),
        st.sampled_from(["apply", "apply", "check", "park", "approve", "approve", "deny", "claim"]),
        AMOUNTS,
        st.none() | REPORTS,
        st.sampled_from(["uma", "ursula", "ulf"]),
    ),
    max_size=12,
)


def _command(
    number: int, move: str, amount: int, report: CreditReport | None, by: str, *, at: datetime
) -> LoanCommand:
    known: dict[str, Any] = {"id": UUID(int=number), "issued_at": at}
    match move:
        case "apply":
            return RequestLoan(
                **known,
                name="Ann Example",
                national_id=f"{number:06}aa",
                amount=amount,
                credit_report=report,
            )
        case "check":
            return RecordCreditScore(**known, credit_report=report or CreditReport(score=5))
        case "park":
            return ParkCreditCheck(**known, reason="timed out", attempts=3)
        case "approve":
            return ApproveLoan(**known, decided_by=by)
        case "claim":
            return ClaimRequest(**known, by=by)
        case _:
            return DenyLoan(**known, decided_by=by, reasons=("too_much_debt",))
