"""Who works on a request, and what that leaves to whoever looks at it.

`claims.js` says the same while a page is open. What may be done in the end, the write side says.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final, NamedTuple, Protocol

from django.utils.safestring import SafeString

from readmodels.pages.clocks import left_in_words
from readmodels.pages.opinions import approvers, deniers
from readmodels.projections.votes import Vote


class Viewer(NamedTuple):
    """Whom a page is shown to."""

    username: str
    is_lead: bool = False


NOBODY: Final = Viewer("")
"""Frames are for nobody in particular: the page's script adapts them."""


class Claim(NamedTuple):
    """Who works on a request at a moment, and what the viewer may do with it.

    `holder` is nobody, the empty text, where a claim has run out. `vote` is what the viewer would
    do, `approve` or `deny`, or empty. `may` has each command; for nobody in particular, all may be
    done.
    """

    holder: str
    left: str
    is_own: bool
    vote: str
    may: Mapping[str, bool]


class Claimable(Protocol):
    """A request, as far as this is about it."""

    @property
    def claimed_by(self) -> str: ...
    @property
    def claimed_until(self) -> datetime | None: ...
    @property
    def escalated_by(self) -> str: ...
    @property
    def votes(self) -> list[Vote]: ...


def claim_on(request: Claimable, viewer: Viewer, now: datetime) -> Claim:
    """The claim on a request as it stands for a viewer."""
    until = request.claimed_until
    is_live = until is not None and until > now
    holder = request.claimed_by if is_live else ""
    left = left_in_words(until - now) if until is not None and is_live else ""
    if not viewer.username:
        return NOT_KNOWN._replace(holder=holder, left=left)
    is_own = holder == viewer.username
    is_free = is_own or not holder
    is_escalated = request.escalated_by != ""
    may_decide = is_free and (viewer.is_lead or not is_escalated)
    vote = _vote_of(viewer, request.votes)
    may = {
        "claim": may_decide and not is_own,
        "release": is_own,
        "approve": may_decide and vote != "approve",
        "deny": may_decide,
        "hand_over": is_own or viewer.is_lead,
        "escalate": is_free and not is_escalated,
    }
    return Claim(holder, left, is_own=is_own, vote=vote, may=may)


def opinions_hidden(vote: str) -> dict[str, str]:
    """Which of the three sentences that follow opinions are hidden from whoever would do that."""
    return {
        f"vote_{each or 'none'}": "" if each == vote else SafeString(" hidden")
        for each in ("", "approve", "deny")
    }


def _vote_of(viewer: Viewer, votes: list[Vote]) -> str:
    if viewer.username in approvers(votes):
        return "approve"
    return "deny" if viewer.username in deniers(votes) else ""


_EVERYTHING: Final = dict.fromkeys(
    ("claim", "release", "approve", "deny", "hand_over", "escalate"), True
)

NOT_KNOWN: Final = Claim(holder="", left="", is_own=False, vote="", may=_EVERYTHING)
"""The claim on a request that the read model does not have yet."""
