"""What another policy would have done, over all requests in the event store."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import BaseModel

from lepret.common.event_store_connection import SharedClient
from loans.adapters.loan_log import LoanLog, Progress, tell_nobody
from loans.application.policies import Policies
from loans.domain.lending_policy import version_numbered
from loans.domain.policy import VERSION_0, Policy
from loans.domain.policy_simulation import CANNOT_KNOW, Period, Simulated, simulate


class Report(BaseModel):
    """What a policy would have done, and what is not in it.

    `unreadable` events, and those `of_newer_version`, were left out; their requests may stand
    otherwise than it says.
    """

    simulated: Simulated
    unreadable: int
    of_newer_version: int
    cannot_know: tuple[str, ...] = CANNOT_KNOW

    @property
    def left_out(self) -> tuple[str, ...]:
        """What was left out, in sentences; empty if everything was read."""
        counts = {
            "could not be read": self.unreadable,
            "only a newer version of the program can read": self.of_newer_version,
        }
        return tuple(
            f"Left out: {count:,} event{'s' * (count > 1)} that {what}."
            for what, count in counts.items()
            if count
        )


def report_on(
    policy: Policy,
    period: Period,
    *,
    connect: Callable[[], SharedClient],
    on_page: Progress = tell_nobody,
) -> Report:
    """Read the whole log once, and say what the policy would have made of it.

    Raises:
        EventStoreUnavailable: no answer in time.
    """
    log = LoanLog(connect, on_page=on_page)
    simulated = simulate(log, policy, period)
    return Report(
        simulated=simulated, unreadable=log.unreadable, of_newer_version=log.of_newer_version
    )


def stored_policy(version: int, policies: Policies) -> Policy:
    """The policy of a version, whether it is in force, was, or never will be.

    Raises:
        UnknownVersion: there is none.
        EventStoreUnavailable: no answer in time.
    """
    if version == VERSION_0.version:
        return VERSION_0.policy
    return version_numbered(version, policies.versions()).policy
