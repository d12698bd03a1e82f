"""What another policy would have made of the requests that were recorded.

The facts are in the events (who asked for how much, and what the clearing house said), and the rule
is a function. So the same `assess`, and the same limit, that decide a request now are asked again
about every request of the past. Nothing is stored.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, tzinfo
from enum import StrEnum
from itertools import chain, islice, zip_longest
from typing import Final
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from loans.domain.credit_report import CreditReport
from loans.domain.events import (
    ApprovalProposed,
    AutoApproved,
    AutoDenied,
    CreditChecked,
    LoanEvent,
    LoanRequested,
    ManuallyApproved,
    ManuallyDenied,
    ManualReviewRequired,
)
from loans.domain.policy import Assessment, Policy, assess

MOST_EXAMPLES: Final = 20

CANNOT_KNOW: Final = (
    "How a person would have decided what was decided at once.",
    "Which requests above the limit the first person would have denied, without a second opinion.",
    "What applicants would have done: asked for less, or not at all, or come back after a denial.",
    "Who would have paid back.",
)
"""What no simulation can tell, in sentences for people."""


class _Outcome(StrEnum):
    """The values appear in JSON."""

    @property
    def words(self) -> str:
        """The outcome as people say it."""
        return self.value.replace("_", " ")


class Was(_Outcome):
    """How a request stands."""

    APPROVED_AT_ONCE = "approved_at_once"
    DENIED_AT_ONCE = "denied_at_once"
    APPROVED_BY_PEOPLE = "approved_by_people"
    DENIED_BY_PEOPLE = "denied_by_people"
    UNDER_REVIEW = "under_review"
    NOT_SCORED = "not_scored_yet"


class WouldBe(_Outcome):
    """How a request would stand before anyone had looked."""

    APPROVED_AT_ONCE = "approved_at_once"
    DENIED_AT_ONCE = "denied_at_once"
    FOR_ONE = "review_by_one_person"
    FOR_TWO = "review_by_two_people"
    NOT_SCORED = "not_scored_yet"


OF_PEOPLE: Final = frozenset({Was.APPROVED_BY_PEOPLE, Was.DENIED_BY_PEOPLE, Was.UNDER_REVIEW})
FOR_PEOPLE: Final = frozenset({WouldBe.FOR_ONE, WouldBe.FOR_TWO})


def is_changed(was: Was, would_be: WouldBe) -> bool:
    """Whether the policy would have done something else: what people look at stays with people."""
    if would_be is WouldBe.NOT_SCORED:
        return False
    if would_be in FOR_PEOPLE:
        return was not in OF_PEOPLE
    return was.value != would_be.value


@dataclass(frozen=True, slots=True)
class Period:
    """Requests that somebody made on the days `first` to `last`, in `zone`; `None`: no bound."""

    first: date | None = None
    last: date | None = None
    zone: tzinfo = UTC

    def day(self, at: datetime) -> date:
        """The day of a moment."""
        return at.astimezone(self.zone).date()

    def holds(self, day: date) -> bool:
        """Whether the day is in it."""
        return (self.first is None or self.first <= day) and (self.last is None or day <= self.last)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class Cell(_Part):
    """How many requests were this and would be that, and the sum of their amounts."""

    was: Was
    would_be: WouldBe
    count: int
    amount: int


class Work(_Part):
    """What people have to do: in all, per day on average, and on the busiest day."""

    total: int
    per_day: float
    busiest: date | None
    on_busiest: int


class Example(_Part):
    """A request for which the policy would have done something else."""

    id: UUID
    amount: int
    score: int
    was: Was
    would_be: WouldBe


class Contradictions(_Part):
    """What people had decided of the requests that the policy would decide alone."""

    would_be: WouldBe
    decided: int
    otherwise: int

    @property
    def sentence(self) -> str:
        """It in words."""
        done = "denied" if self.would_be is WouldBe.APPROVED_AT_ONCE else "approved"
        return (
            f"Of {self.decided:,} that people had decided and that would now be "
            f"{self.would_be.words}, underwriters had {done} {self.otherwise:,}."
        )


class Simulated(_Part):
    """What a policy would have done.

    `days` is from the first application to the last one, or the last report. `matrix` has the cells
    that are not empty. The work is counted on the day of the clearing house's report.
    """

    requests: int
    amount: int
    changed: int
    first: date | None
    last: date | None
    days: int
    matrix: tuple[Cell, ...]
    reviews: Work
    second_opinions: Work
    reviews_before: Work
    second_opinions_before: Work
    contradictions: tuple[Contradictions, ...]
    examples: tuple[Example, ...]

    @property
    def work(self) -> dict[str, Work]:
        """The work for people, each kind with its name."""
        return {
            "reviews, as it was": self.reviews_before,
            "reviews, as it would be": self.reviews,
            "second opinions, as it was": self.second_opinions_before,
            "second opinions, at most": self.second_opinions,
        }


def simulate(
    events: Iterable[LoanEvent], policy: Policy, period: Period | None = None
) -> Simulated:
    """What `policy` would have made of the requests in `events`, those of all in their order.

    In memory stay, however many events there are: a few words for each request that is not decided
    yet, the sums for each outcome and each day, and the newest examples for each outcome.
    """
    fold = _Fold(policy, period or Period())
    for event in events:
        fold.take(event)
    return fold.result()


@dataclass(slots=True)
class _Request:
    """What is known of a request that is not decided yet. `day` is that of its report."""

    id: UUID
    amount: int
    score: int = 0
    day: date | None = None
    was: Was = Was.NOT_SCORED
    would_be: WouldBe = WouldBe.NOT_SCORED
    has_proposal: bool = False


@dataclass(slots=True)
class _Sums:
    count: int = 0
    amount: int = 0
    newest: deque[Example] = field(default_factory=lambda: deque(maxlen=MOST_EXAMPLES))


class _Fold:
    def __init__(self, policy: Policy, period: Period) -> None:
        self._policy = policy
        self._period = period
        self._undecided: dict[UUID, _Request] = {}
        self._sums: defaultdict[tuple[Was, WouldBe], _Sums] = defaultdict(_Sums)
        self._days: set[date] = set()
        self._reviews: Counter[date] = Counter()
        self._second_opinions: Counter[date] = Counter()
        self._reviews_before: Counter[date] = Counter()
        self._second_opinions_before: Counter[date] = Counter()

    def take(self, event: LoanEvent) -> None:
        if isinstance(event, LoanRequested):
            self._begin(event)
        elif request := self._undecided.get(event.id):
            self._go_on(request, event)

    def _begin(self, event: LoanRequested) -> None:
        day = self._period.day(event.occurred_at)
        if self._period.holds(day):
            self._days.add(day)
            self._undecided[event.id] = _Request(event.id, event.amount)

    def _go_on(self, request: _Request, event: LoanEvent) -> None:
        match event:
            case CreditChecked():
                self._assess(request, event)
            case ManualReviewRequired():
                request.was = Was.UNDER_REVIEW
                self._note(self._reviews_before, request)
            case ApprovalProposed():
                if not request.has_proposal:
                    self._note(self._second_opinions_before, request)
                request.has_proposal = True
            case AutoApproved():
                self._end(request, Was.APPROVED_AT_ONCE)
            case AutoDenied():
                self._end(request, Was.DENIED_AT_ONCE)
            case ManuallyApproved():
                self._end(request, Was.APPROVED_BY_PEOPLE)
            case ManuallyDenied():
                self._end(request, Was.DENIED_BY_PEOPLE)
            case _:
                pass  # The others change neither what is known of a request, nor its outcome.

    def _assess(self, request: _Request, event: CreditChecked) -> None:
        # Not validated anew: it was when it was recorded.
        report = CreditReport.model_construct(score=event.credit_score, factors=event.factors)
        request.score = report.score
        request.day = self._period.day(event.occurred_at)
        self._days.add(request.day)
        request.was = Was.UNDER_REVIEW
        request.would_be = self._would_be(report, request.amount)
        if request.would_be in FOR_PEOPLE:
            self._note(self._reviews, request)
        if request.would_be is WouldBe.FOR_TWO:
            self._note(self._second_opinions, request)

    def _would_be(self, report: CreditReport, amount: int) -> WouldBe:
        match assess(report, amount, self._policy):
            case Assessment.APPROVE:
                return WouldBe.APPROVED_AT_ONCE
            case Assessment.DENY:
                return WouldBe.DENIED_AT_ONCE
            case Assessment.REVIEW:
                needs_two = self._policy.needed_for_approval(amount) > 1
                return WouldBe.FOR_TWO if needs_two else WouldBe.FOR_ONE

    def _note(self, work: Counter[date], request: _Request) -> None:
        if request.day is not None:
            work[request.day] += 1

    def _end(self, request: _Request, was: Was) -> None:
        del self._undecided[request.id]
        request.was = was
        self._count(request)

    def _count(self, request: _Request) -> None:
        was, would_be = request.was, request.would_be
        sums = self._sums[was, would_be]
        sums.count += 1
        sums.amount += request.amount
        if is_changed(was, would_be):
            sums.newest.append(
                Example(
                    id=request.id,
                    amount=request.amount,
                    score=request.score,
                    was=was,
                    would_be=would_be,
                )
            )

    def result(self) -> Simulated:
        for request in self._undecided.values():
            self._count(request)
        matrix = tuple(self._cells())
        days = (max(self._days) - min(self._days)).days + 1 if self._days else 0
        return Simulated(
            requests=sum(cell.count for cell in matrix),
            amount=sum(cell.amount for cell in matrix),
            changed=sum(cell.count for cell in matrix if is_changed(cell.was, cell.would_be)),
            first=min(self._days, default=None),
            last=max(self._days, default=None),
            days=days,
            matrix=matrix,
            reviews=_work(self._reviews, days),
            second_opinions=_work(self._second_opinions, days),
            reviews_before=_work(self._reviews_before, days),
            second_opinions_before=_work(self._second_opinions_before, days),
            contradictions=(
                _contradictions(matrix, WouldBe.APPROVED_AT_ONCE, Was.DENIED_BY_PEOPLE),
                _contradictions(matrix, WouldBe.DENIED_AT_ONCE, Was.APPROVED_BY_PEOPLE),
            ),
            examples=_dealt(sums.newest for sums in self._sums.values()),
        )

    def _cells(self) -> Iterator[Cell]:
        for was in Was:
            for would_be in WouldBe:
                if sums := self._sums.get((was, would_be)):
                    yield Cell(was=was, would_be=would_be, count=sums.count, amount=sums.amount)


def _work(by_day: Counter[date], days: int) -> Work:
    busiest, most = max(by_day.items(), key=lambda each: (each[1], each[0]), default=(None, 0))
    total = by_day.total()
    per_day = total / days if days else 0.0
    return Work(total=total, per_day=per_day, busiest=busiest, on_busiest=most)


def _contradictions(matrix: Iterable[Cell], would_be: WouldBe, otherwise: Was) -> Contradictions:
    decided = {
        cell.was: cell.count
        for cell in matrix
        if cell.would_be is would_be and cell.was in OF_PEOPLE - {Was.UNDER_REVIEW}
    }
    return Contradictions(
        would_be=would_be,
        decided=sum(decided.values()),
        otherwise=decided.get(otherwise, 0),
    )


def _dealt(hands: Iterable[Iterable[Example]]) -> tuple[Example, ...]:
    """Examples from each hand in turn, the newest first, so that a rare outcome is among them."""
    rounds = zip_longest(*(reversed(tuple(hand)) for hand in hands))
    dealt = (example for example in chain.from_iterable(rounds) if example is not None)
    return tuple(islice(dealt, MOST_EXAMPLES))
