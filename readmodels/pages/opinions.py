"""What underwriters have said of a request that is not decided yet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from django.utils.text import Truncator

from readmodels.models import Awaiting, Status
from readmodels.pages.explaining import in_staffs_words
from readmodels.projections.votes import Vote


@dataclass(frozen=True)
class Opinion:
    """A vote in words: whether `by` is for an approval, and why not."""

    by: str
    is_approval: bool
    at: datetime
    note: str
    reasons: Sequence[str]

    def shortened(self, characters: int) -> Opinion:
        """The same with no more of the note, and of the reasons together."""
        reasons = _shortened(", ".join(self.reasons), characters)
        note = _shortened(self.note, characters)
        return replace(self, note=note, reasons=[reasons] if reasons else [])


class Opinions:
    """The opinions on a request: what they are, whose it takes, and who would approve it."""

    def __init__(self, votes: Sequence[Vote]) -> None:
        self.opinions = opinions_in(votes)
        self.awaiting = awaiting(votes)
        self.approvers = approvers(votes)
        self.deniers = deniers(votes)


def opinions_in(votes: Iterable[Vote]) -> list[Opinion]:
    """The opinions, in the order in which they came."""
    return [
        Opinion(
            by=vote["by"],
            is_approval=vote["status"] == Status.APPROVED,
            at=datetime.fromisoformat(vote["at"]),
            note=vote["note"],
            reasons=in_staffs_words(
                vote["reasons"], policy=vote["policy"], text=vote["reason_text"]
            ),
        )
        for vote in votes
    ]


def awaiting(votes: Iterable[Vote]) -> Awaiting | None:
    """Whose opinion it takes to decide; `None` if nobody has said anything."""
    outcomes = {vote["status"] for vote in votes}
    if not outcomes:
        return None
    return Awaiting.THIRD if len(outcomes) > 1 else Awaiting.SECOND


def approvers(votes: Iterable[Vote]) -> list[str]:
    """Who would approve it, and is not asked again."""
    return [vote["by"] for vote in votes if vote["status"] == Status.APPROVED]


def deniers(votes: Iterable[Vote]) -> list[str]:
    """Who would deny it."""
    return [vote["by"] for vote in votes if vote["status"] == Status.DENIED]


def _shortened(text: str, characters: int) -> str:
    return Truncator(text).chars(characters)
