"""One loan request as underwriters see it, with all that there is to know before one decides."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.template.loader import render_to_string
from django.utils import timezone

from loans.domain import explanations
from loans.domain.policy import Bureau, Policy
from readmodels.clocks import due_at, legal_deadline
from readmodels.models import LoanRequest
from readmodels.pages.claims import NOBODY, NOT_KNOWN, Viewer, claim_on, opinions_hidden
from readmodels.pages.clocks import Clock
from readmodels.pages.event_history import History, HistoryUnavailable, history_of
from readmodels.pages.explaining import (
    explanation_of,
    explanation_of_review,
    in_staffs_words,
    reasons_to_staff,
)
from readmodels.pages.opinions import Opinions
from readmodels.policies import policy_in_force, words_of

MOST_EARLIER: Final = 20

# For the range of the scores, where the policy names no bureau.
_ANY_BUREAU: Final = Bureau(name="The credit bureau")


class RequestReader:
    """Reads the page of one request again and again, and its history only once it has changed."""

    def __init__(self, loan_request_id: UUID) -> None:
        self._id = loan_request_id
        self._history: History | None = None
        self._revision: int | None = None  # that the history was read at

    def __call__(self) -> RequestPage:
        """The page as it is now. It is the same for everybody: a script adapts it."""
        loan = LoanRequest.objects.of(self._id)
        context = context_of(loan, self._history_of(loan), NOBODY)
        return RequestPage(render_to_string("readmodels/_request_frame.html", context))

    def _history_of(self, loan: LoanRequest | None) -> History | None:
        if self._history is None or loan is None or loan.revision != self._revision:
            self._history = history_if_known(self._id)
            self._revision = loan.revision if loan else None
        return self._history


@dataclass(frozen=True)
class RequestPage:
    """What underwriters know of one request, as HTML."""

    html: str

    def changes_since(self, before: RequestPage | None) -> str:
        """The fragments that turn `before` into this page, which are all of it."""
        return "" if before == self else self.html


def history_if_known(loan_request_id: UUID) -> History | None:
    """What has happened to a request; `None` if the event store does not answer in time."""
    try:
        return history_of(loan_request_id)
    except HistoryUnavailable:
        return None


def context_of(loan: LoanRequest | None, history: History | None, viewer: Viewer) -> dict[str, Any]:
    """For the templates; `loan` is `None` if the read model does not have the request yet.

    Three queries, and now and then one for each version of the policy that is named.
    """
    now = timezone.now()
    policy = policy_in_force(now).policy
    context = {
        "loan": loan,
        "history": history,
        "lease_seconds": policy.lease.total_seconds(),
        "undo_seconds": policy.undo_seconds,
        "username": viewer.username,
        "is_lead": viewer.is_lead,
    }
    if loan is None:
        return context | {"standing": "unknown", "is_open": True, "claim": NOT_KNOWN}
    claim = claim_on(loan, viewer, now)
    return context | {
        "standing": "gone" if loan.gone_at else loan.status,
        "is_open": loan.decided_at is None and loan.gone_at is None,
        "factors": in_staffs_words(loan.factors, policy=loan.policy),
        "reasons": reasons_to_staff(loan),
        "explanation": explanation_of(loan),
        "opinions": Opinions(loan.votes),
        "claim": claim,
        "slot": opinions_hidden(claim.vote),
        "notes": [{**note, "at": datetime.fromisoformat(note["at"])} for note in loan.notes],
        "earlier": [_Earlier(each) for each in LoanRequest.objects.before(loan)[:MOST_EARLIER]],
        "four_eyes_above": policy.four_eyes_above,
        **_terms(loan, policy, now),
        **_what_the_policy_says(loan),
    }


def _terms(loan: LoanRequest, policy: Policy, now: datetime) -> dict[str, Any]:
    """Until when it is to be decided, once it has been left to people."""
    if loan.passed_on_at is None or loan.decided_at is not None:
        return {}
    complete_at = loan.passed_on_at
    return {
        "due": Clock(complete_at, due_at(complete_at, policy), now),
        "law": Clock(complete_at, legal_deadline(complete_at), now),
    }


def _what_the_policy_says(loan: LoanRequest) -> dict[str, Any]:
    """Of the policy that passed the request on; of the one that decided, where none did."""
    version = loan.policy if loan.review_policy is None else loan.review_policy
    policy = words_of(version)
    return {
        "policy_version": version,
        "score_range": (policy.bureau or _ANY_BUREAU).range,
        "review": explanation_of_review(loan),
        "other_scores": explanations.of_other_scores(loan.amount, policy),
    }


@dataclass(frozen=True)
class _Earlier:
    """An earlier request of the same person."""

    loan: LoanRequest

    @property
    def reasons(self) -> list[str]:
        return reasons_to_staff(self.loan)
