"""Random histories for property tests: the events of several loans, interleaved."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from esdbclient import RecordedEvent
from hypothesis import strategies as st

from loans.domain.events import (
    ApplicationLapsed,
    AutoApproved,
    AutoDenied,
    CreditChecked,
    CreditCheckParked,
    LoanEvent,
    LoanRequested,
    ManuallyApproved,
    ManuallyDenied,
    ManualReviewRequired,
)
from readmodels.projector.received import Received
from tests.support.loans import AT, in_stream_of, recorded, recorded_as

UNKNOWN = "LoanPaidBack"


@st.composite
def loans(draw: st.DrawFn, number: int) -> list[LoanEvent]:
    """The events of one loan request so far."""
    id_ = UUID(int=number + 1)
    known: dict[str, Any] = {
        "name": draw(st.sampled_from(["Ann", "Zoë", "x" * 200])),
        "national_id": f"{number:06}aa",
        "amount": draw(st.integers(1, 10**9)),
    }
    score = draw(st.integers(1, 10))

    def at(minutes: int) -> dict[str, Any]:
        return {"id": id_, "occurred_at": AT + timedelta(minutes=minutes, microseconds=number)}

    review = ManualReviewRequired(**at(2), **known, credit_score=score)
    end: list[LoanEvent] = draw(
        st.sampled_from(
            [
                [AutoApproved(**at(2))],
                [AutoDenied(**at(2))],
                [review, ManuallyApproved(**at(9), decided_by="uma", note="fine")],
                [review, ManuallyDenied(**at(9), decided_by="una", reason="too_much_debt")],
                [review, ManuallyDenied(**at(9), decided_by="uma", reason="other", note="sorry")],
            ]
        )
    )
    parked = CreditCheckParked(**at(1), reason="timed out", attempts=draw(st.integers(1, 25)))
    whole: list[LoanEvent] = [
        *draw(st.sampled_from([[], [ApplicationLapsed(**at(0))]])),
        LoanRequested(**at(0), **known, address=draw(st.sampled_from(["", "7 Nowhere Lane"]))),
        *[parked] * draw(st.integers(0, 2)),
        CreditChecked(**at(1), credit_score=score),
        *end,
    ]
    return whole[: draw(st.integers(1, len(whole)))]


@st.composite
def histories(draw: st.DrawFn) -> list[Received]:
    """The events of several loans, interleaved, with events of unknown types between them.

    Some of the unknown events are in streams of their own, and some in a loan's stream.
    """
    rest = [draw(loans(number)) for number in range(draw(st.integers(1, 6)))]
    received: list[Received] = []
    revisions: Counter[UUID] = Counter()
    position = 0
    while rest := [each for each in rest if each]:
        position += draw(st.integers(1, 3))
        turn = draw(st.integers(-1, len(rest) - 1))
        if turn < 0 and draw(st.booleans()):
            received.append(_at(position, recorded_as(UNKNOWN)))
            continue
        id_ = rest[turn][0].id
        event = recorded_as(UNKNOWN) if turn < 0 else recorded(rest[turn].pop(0))
        received.append(_at(position, in_stream_of(id_, event, revisions[id_])))
        revisions[id_] += 1
    return received


def _at(position: int, event: RecordedEvent) -> Received:
    when = AT + timedelta(seconds=position)
    return Received(replace(event, commit_position=position, recorded_at=when))


def batches(history: Sequence[Received]) -> st.SearchStrategy[list[Sequence[Received]]]:
    """The same events in batches of random sizes."""

    def cut(at: set[int]) -> list[Sequence[Received]]:
        ends = [*sorted(at), len(history)]
        begins = [0, *ends[:-1]]
        return [history[begin:end] for begin, end in zip(begins, ends, strict=True)]

    return st.sets(st.integers(1, max(1, len(history) - 1)), max_size=len(history)).map(
        lambda at: [each for each in cut(at) if each]
    )
