"""Loan requests for tests, made by the use cases in the test's event store."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import groupby
from typing import Final
from uuid import UUID, uuid4

from django.utils import timezone
from esdbclient import NewEvent, RecordedEvent, StreamState

from lepret.common.event_store_client import event_store_client
from loans.adapters import codec
from loans.application import use_cases
from loans.application.use_cases import Answer
from loans.dependencies import event_store, policies
from loans.domain.commands import AddNote, ApproveLoan, DenyLoan, RequestLoan
from loans.domain.events import LoanEvent, PolicyEvent
from loans.domain.loan_request import LoanRequest, fold
from tests.support.fakes import FakeCreditBureau, FakeEventStore, reservations_in

AT: Final = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
# The revision of a request's stream after its third event, which asks for an underwriter.
UNDER_REVIEW_AT: Final = 2


@dataclass(frozen=True)
class Applicant:
    """Someone whose data is easy to find where it should not be."""

    name: str = field(default="Zoe Quillfeather", repr=False)
    national_id: str = field(default="482915qz", repr=False)
    address: str = field(default="7 Nowhere Lane", repr=False)

    def is_told_by(self, text: str) -> bool:
        """Whether `text` contains any of the personal data."""
        return any(each in text for each in (self.name, self.national_id, self.address))


ZOE: Final = Applicant()


def append_requested_loan(
    score: int | None = 5, *, applicant: Applicant = ZOE, loan_request_id: UUID | None = None
) -> Answer:
    """Record a request, with what follows from its score."""
    command = RequestLoan(
        id=loan_request_id or uuid4(),
        issued_at=timezone.now(),
        name=applicant.name,
        national_id=applicant.national_id,
        amount=5000,
        address=applicant.address,
    )
    return use_cases.request_loan(
        command,
        event_store=event_store(),
        policies=policies(),
        credit_bureau=FakeCreditBureau(score),
        # One applicant may have many open requests in tests.
        reservations=reservations_in(FakeEventStore()),
    )


def append_approval(loan_request_id: UUID) -> Answer:
    """Record an underwriter's approval."""
    command = ApproveLoan(
        id=loan_request_id, issued_at=timezone.now(), decided_by="uma", note="a good customer"
    )
    return use_cases.approve_loan(command, event_store=event_store(), policies=policies())


def append_denial(loan_request_id: UUID) -> Answer:
    """Record an underwriter's denial."""
    command = DenyLoan(
        id=loan_request_id,
        issued_at=timezone.now(),
        decided_by="uma",
        reasons=("too_much_debt",),
    )
    return use_cases.deny_loan(command, event_store=event_store(), policies=policies())


def append_note(loan_request_id: UUID, text: str = "Called, no answer.", by: str = "una") -> Answer:
    """Record an underwriter's note."""
    command = AddNote(id=loan_request_id, issued_at=timezone.now(), by=by, text=text)
    return use_cases.add_note(command, event_store=event_store())


def notes_of(loan_request_id: UUID) -> list[tuple[str, str]]:
    """Who has noted what on a request."""
    events = event_store().load(codec.loan_request_stream(loan_request_id)).events
    return [(note.by, note.text) for note in fold(events).notes]


def append_a_loan_of_each_kind() -> Answer:
    """Record a request with each of the possible outcomes; returns the last one's answer."""
    append_requested_loan(score=9)
    append_requested_loan(score=1)
    append_approval(append_requested_loan(score=5).loan_request_id)
    append_denial(append_requested_loan(score=6).loan_request_id)
    return append_requested_loan(score=5)


def append_event(event_type: str, data: bytes = b"{}", *, times: int = 1) -> int:
    """Append any event to a new stream; returns the last one's commit position."""
    id_ = uuid4()
    is_ours = event_type in codec.LOAN_EVENTS
    return event_store_client().append_to_stream(
        codec.stream_name(id_) if is_ours else f"Other:{id_}",
        current_version=StreamState.NO_STREAM,
        events=[NewEvent(type=event_type, data=data) for _ in range(times)],
    )


def recorded_loans() -> dict[UUID, LoanRequest]:
    """The state of every loan request, folded from its events. All read models must agree."""

    def stream_name(event: RecordedEvent) -> str:
        return event.stream_name

    of_loans = event_store_client().read_all(
        filter_include=["LoanRequest:.*"], filter_by_stream_name=True
    )
    by_stream = groupby(sorted(of_loans, key=stream_name), key=stream_name)
    return {
        codec.loan_request_id(name): fold(
            event
            for each in events
            if (event := codec.decode(each.type, each.data, each.metadata)) is not None
        )
        for name, events in by_stream
    }


def recorded(event: LoanEvent | PolicyEvent, *, at: int = 1, revision: int = 0) -> RecordedEvent:
    """`event` as a subscription delivers it, with `at` as its commit position."""
    encoded = codec.encode(event, command_id=uuid4(), user="applicant")
    delivered = replace(
        recorded_as(encoded.type, encoded.data, at=at),
        metadata=encoded.metadata,
        stream_position=revision,
    )
    if encoded.type in codec.POLICY_EVENTS:
        return replace(delivered, stream_name=codec.POLICY_NAME)
    return in_stream_of(event.id, delivered, revision)


def in_stream_of(loan_request_id: UUID, recorded: RecordedEvent, revision: int) -> RecordedEvent:
    """The event as one in the stream of a loan request."""
    name = codec.stream_name(loan_request_id)
    return replace(recorded, stream_name=name, stream_position=revision)


def recorded_as(event_type: str, data: bytes = b"{}", *, at: int = 1) -> RecordedEvent:
    """Any event as a subscription delivers it."""
    return RecordedEvent(
        type=event_type,
        data=data,
        metadata=b"",
        content_type="application/json",
        id=uuid4(),
        stream_name=codec.stream_name(uuid4()) if event_type in codec.LOAN_EVENTS else "Other:any",
        stream_position=0,
        commit_position=at,
        prepare_position=at,
        recorded_at=AT,
    )
