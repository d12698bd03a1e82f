"""Why a command about a loan request cannot be carried out."""

from __future__ import annotations

from loans.domain.loan_request.state import Claim, Decision


class Rejection(Exception):
    """A command cannot be carried out. The message may be shown to the sender."""


class IdAlreadyUsed(Rejection):
    """The request's id belongs to another application."""

    def __init__(self) -> None:
        super().__init__("This id was already used for another application.")


class UnknownLoanRequest(Rejection):
    """There is no request with this id."""

    def __init__(self) -> None:
        super().__init__("There is no loan request with this id.")


class LoanRequestIsGone(Rejection):
    """The events of the request were deleted or truncated, so nobody can tell how it stands."""

    def __init__(self) -> None:
        super().__init__(
            "The record of this loan request was deleted or cut short, so it can no longer be "
            "decided. Its applicant may apply again."
        )


class NotUnderReview(Rejection):
    """The request has not been scored yet, so there is nothing to decide."""

    def __init__(self) -> None:
        super().__init__("This loan request is not under review yet.")


class AlreadyDecided(Rejection):
    """The request is decided. A decision cannot be changed."""

    def __init__(self, decision: Decision) -> None:
        by = " and ".join(decision.people) or "its credit score"
        at = f"{decision.decided_at:%d %B %Y at %H:%M:%S} UTC"
        super().__init__(f"Already {decision.status} by {by} on {at}.")


class ReasonNotInPolicy(Rejection):
    """The policy in force has no reason with this code, or has retired it."""

    def __init__(self, code: str) -> None:
        super().__init__(f"The lending policy in force does not have the reason `{code}`.")
        self.code = code


class ReasonNotExplained(Rejection):
    """The applicant must be told what the reason `other` is."""

    def __init__(self) -> None:
        super().__init__("Say to the applicant what the other reason is.")


class ClaimedByAnother(Rejection):
    """Somebody else works on the request, alone until `until`. `by` is the username."""

    def __init__(self, claim: Claim) -> None:
        until = f"{claim.until:%d %B %Y at %H:%M:%S} UTC"
        super().__init__(f"{claim.by} works on this loan request until {until}.")
        self.by = claim.by
        self.until = claim.until


class NotClaimed(Rejection):
    """Nobody works on the request, so only a lead may give it to somebody."""

    def __init__(self) -> None:
        super().__init__("Claim this loan request before you hand it over.")


class WhyNeeded(Rejection):
    """A lead who gives away what another works on says why."""

    def __init__(self) -> None:
        super().__init__("Say why you hand over what somebody else works on.")


class ForLeads(Rejection):
    """The request was escalated, so only leads may work on it or decide."""

    def __init__(self) -> None:
        super().__init__("This loan request was left to the lead underwriters.")


class OpinionGiven(Rejection):
    """Whoever asks for any request is not given one on which they have given an opinion."""

    def __init__(self) -> None:
        super().__init__("You have given your opinion on this loan request: others decide.")


class TooManyNotes(Rejection):
    """The request has as many notes as it may have."""

    def __init__(self, most: int) -> None:
        super().__init__(f"This loan request has {most} notes already, and can have no more.")


class OutOfDate(Rejection):
    """The request has changed since it was shown. `revision` is that of its stream now."""

    def __init__(self, revision: int) -> None:
        super().__init__("This loan request has changed since it was shown. Please look again.")
        self.revision = revision
