"""The decider of a loan request.

Pure: no I/O, no clock, no randomness. `decide` turns a command into events or raises a `Rejection`;
`evolve` folds an event into the state. See https://thinkbeforecoding.com/post/2021/12/17/functional-event-sourcing-decider
for the pattern.
"""

from loans.domain.loan_request.claims import under_review
from loans.domain.loan_request.decider import decide
from loans.domain.loan_request.notes import MOST_NOTES
from loans.domain.loan_request.rejections import (
    AlreadyDecided,
    ClaimedByAnother,
    ForLeads,
    IdAlreadyUsed,
    LoanRequestIsGone,
    NotClaimed,
    NotUnderReview,
    OpinionGiven,
    OutOfDate,
    ReasonNotExplained,
    ReasonNotInPolicy,
    Rejection,
    TooManyNotes,
    UnknownLoanRequest,
    WhyNeeded,
)
from loans.domain.loan_request.state import (
    INITIAL,
    Application,
    Awaited,
    Claim,
    Decision,
    LoanRequest,
    Note,
    Status,
    Vote,
    evolve,
    fold,
)

__all__ = [
    "INITIAL",
    "MOST_NOTES",
    "AlreadyDecided",
    "Application",
    "Awaited",
    "Claim",
    "ClaimedByAnother",
    "Decision",
    "ForLeads",
    "IdAlreadyUsed",
    "LoanRequest",
    "LoanRequestIsGone",
    "NotClaimed",
    "NotUnderReview",
    "Note",
    "OpinionGiven",
    "OutOfDate",
    "ReasonNotExplained",
    "ReasonNotInPolicy",
    "Rejection",
    "Status",
    "TooManyNotes",
    "UnknownLoanRequest",
    "Vote",
    "WhyNeeded",
    "decide",
    "evolve",
    "fold",
    "under_review",
]
