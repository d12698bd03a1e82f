"""Random histories for property tests: the events of several loans and of the lending policy."""

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
    ApprovalProposed,
    AutoApproved,
    AutoDenied,
    ClaimExtended,
    CreditChecked,
    CreditCheckParked,
    DenialProposed,
    LoanEvent,
    LoanRequested,
    ManuallyApproved,
    ManuallyDenied,
    ManualReviewRequired,
    NoteAdded,
    PolicyConfirmed,
    PolicyEvent,
    PolicyProposed,
    PolicyWithdrawn,
    RequestClaimed,
    RequestEscalated,
    RequestHandedOver,
    RequestReleased,
)
from loans.domain.lending_policy import POLICY_ID
from loans.domain.policy import Policy
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

    policy = draw(st.integers(0, 3))
    factors: tuple[str, ...] = draw(
        st.sampled_from([(), ("short_history",), ("late_payments", "short_history")])
    )
    claims: list[LoanEvent] = [
        RequestClaimed(**at(2), by="una", until=AT + timedelta(hours=1)),
        ClaimExtended(**at(2), by="una", until=AT + timedelta(hours=2)),
        RequestHandedOver(**at(2), by="una", to="ulf", until=AT + timedelta(hours=9)),
        RequestReleased(**at(2), by="ulf"),
        RequestEscalated(**at(2), by="ulf", why="Too large for me."),
    ]
    review = ManualReviewRequired(
        **at(2),
        **known,
        credit_score=score,
        factors=factors,
        requested_at=at(0)["occurred_at"],
        policy=policy,
    )
    for_it = ApprovalProposed(**at(3), by="uma", note="fine", policy=policy)
    against = DenialProposed(
        **at(4),
        by="una",
        reasons=("other",),
        reason_text="We know the house.",
        note="no",
        policy=policy,
    )
    votes: list[ApprovalProposed | DenialProposed] = draw(
        st.sampled_from([[], [for_it], [for_it, against], [for_it, against, against]])
    )
    reviewed = [review, *draw(st.lists(st.sampled_from(claims), max_size=4)), *votes]
    together = tuple(sorted({vote.by for vote in votes})[:1])
    end: list[LoanEvent] = draw(
        st.sampled_from(
            [
                [AutoApproved(**at(2), policy=policy)],
                [AutoDenied(**at(2), reasons=factors, policy=policy)],
                [
                    *reviewed,
                    ManuallyApproved(
                        **at(9), decided_by="ulf", note="fine", together_with=together
                    ),
                ],
                [
                    *reviewed,
                    ManuallyDenied(
                        **at(9),
                        decided_by="ulf",
                        reasons=("too_much_debt", "other"),
                        reason_text="We know the house.",
                        note="sorry",
                        together_with=together,
                        policy=policy,
                    ),
                ],
            ]
        )
    )
    parked = CreditCheckParked(**at(1), reason="timed out", attempts=draw(st.integers(1, 25)))
    whole: list[LoanEvent] = [
        *draw(st.sampled_from([[], [ApplicationLapsed(**at(0))]])),
        LoanRequested(**at(0), **known, address=draw(st.sampled_from(["", "7 Nowhere Lane"]))),
        *[parked] * draw(st.integers(0, 2)),
        CreditChecked(**at(1), credit_score=score, factors=factors),
        *end,
    ]
    for place in draw(st.lists(st.integers(1, len(whole)), max_size=2)):
        whole.insert(place, NoteAdded(**at(place), by="una", text=draw(st.sampled_from("ab"))))
    return whole[: draw(st.integers(1, len(whole)))]


@st.composite
def policies(draw: st.DrawFn) -> list[PolicyEvent]:
    """The events of the lending policy so far."""
    events: list[PolicyEvent] = []
    for version in range(1, draw(st.integers(0, 3)) + 1):
        at: dict[str, Any] = {"id": POLICY_ID, "occurred_at": AT + timedelta(days=version)}
        proposed = PolicyProposed(
            **at,
            version=version,
            by="pat",
            why="The new year.",
            effective_at=AT,
            policy=Policy(deny_up_to=draw(st.integers(0, 6))),
        )
        confirmed = PolicyConfirmed(**at, version=version, by="paul")
        withdrawn = PolicyWithdrawn(**at, version=version, by="pia")
        events += draw(
            st.sampled_from(
                [[proposed, confirmed], [proposed, withdrawn], [proposed, confirmed, withdrawn]]
            )
        )
    return events


@st.composite
def histories(draw: st.DrawFn) -> list[Received]:
    """The events of several loans and of the policy, interleaved, with others between them.

    Of the others, of unknown types, some are in streams of their own, and some in a loan's stream.
    """
    rest: list[list[LoanEvent | PolicyEvent]] = [
        [*draw(loans(number))] for number in range(draw(st.integers(1, 6)))
    ]
    rest.append([*draw(policies())])
    received: list[Received] = []
    revisions: Counter[UUID] = Counter()
    position = 0
    while rest := [each for each in rest if each]:
        position += draw(st.integers(1, 3))
        turn = draw(st.integers(-1, len(rest) - 1))
        id_ = rest[turn][0].id
        if turn < 0 and (draw(st.booleans()) or id_ == POLICY_ID):
            received.append(_at(position, recorded_as(UNKNOWN)))
            continue
        received.append(_at(position, _recorded(rest[turn], turn, id_, revisions[id_])))
        revisions[id_] += 1
    return received


def _recorded(
    events: list[LoanEvent | PolicyEvent], turn: int, id_: UUID, revision: int
) -> RecordedEvent:
    if turn < 0:
        return in_stream_of(id_, recorded_as(UNKNOWN), revision)
    return recorded(events.pop(0), revision=revision)


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
