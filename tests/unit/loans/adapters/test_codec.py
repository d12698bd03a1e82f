"""The stored JSON of each event type is pinned, and read back."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime
from typing import Any, get_args
from uuid import UUID

import pytest
from pydantic import ValidationError

from loans.adapters import codec
from loans.adapters.codec import WrittenByNewerVersion
from loans.domain.events import (
    ApplicationLapsed,
    ApprovalProposed,
    AutoApproved,
    AutoDenied,
    ClaimExtended,
    CreditChecked,
    CreditCheckParked,
    DenialProposed,
    Event,
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
    ReservationEvent,
    ReservationReleased,
    ReservationTaken,
)
from loans.domain.policy import Bureau, Factor, Lender, Policy, Reason, Supervisor
from tests.support.loans import recorded_as

ID = UUID("00000000-0000-4000-8000-000000000001")
COMMAND_ID = UUID("00000000-0000-4000-8000-000000000002")
AT = datetime(2026, 11, 23, 9, 30, 15, 250000, tzinfo=UTC)
MOMENT = "2026-11-23T09:30:15.250000Z"
COMMON = {"id": "00000000-0000-4000-8000-000000000001", "occurred_at": MOMENT}

GOLDEN: list[tuple[LoanEvent, dict[str, Any]]] = [
    (
        LoanRequested(
            id=ID, occurred_at=AT, name="Zoë", national_id="123456aa", amount=5000, address="Here"
        ),
        {
            "name": "Zoë",
            "national_id": "123456aa",
            "amount": 5000,
            "address": "Here",
        },
    ),
    (
        CreditChecked(
            id=ID,
            occurred_at=AT,
            credit_score=5,
            factors=("late_payments",),
            scored_at=AT,
            agency="A clearing house",
        ),
        {
            "credit_score": 5,
            "factors": ["late_payments"],
            "scored_at": MOMENT,
            "agency": "A clearing house",
        },
    ),
    (
        CreditCheckParked(id=ID, occurred_at=AT, reason="timed out", attempts=24),
        {"reason": "timed out", "attempts": 24},
    ),
    (AutoApproved(id=ID, occurred_at=AT, policy=3), {"policy": 3}),
    (
        AutoDenied(id=ID, occurred_at=AT, reasons=("late_payments",), policy=3),
        {"reasons": ["late_payments"], "policy": 3},
    ),
    (
        ManualReviewRequired(
            id=ID,
            occurred_at=AT,
            name="Zoë",
            national_id="123456aa",
            amount=5000,
            credit_score=5,
            factors=("late_payments",),
            requested_at=AT,
            policy=3,
        ),
        {
            "name": "Zoë",
            "national_id": "123456aa",
            "amount": 5000,
            "credit_score": 5,
            "factors": ["late_payments"],
            "requested_at": MOMENT,
            "policy": 3,
        },
    ),
    (
        ApprovalProposed(id=ID, occurred_at=AT, by="uma", note="Fine.", policy=3),
        {"by": "uma", "note": "Fine.", "policy": 3},
    ),
    (
        DenialProposed(
            id=ID,
            occurred_at=AT,
            by="uma",
            reasons=("other",),
            reason_text="You have moved away.",
            policy=3,
        ),
        {
            "by": "uma",
            "reasons": ["other"],
            "reason_text": "You have moved away.",
            "note": "",
            "policy": 3,
        },
    ),
    (
        ManuallyApproved(
            id=ID,
            occurred_at=AT,
            decided_by="uma",
            note="Fine.",
            together_with=("vic",),
            policy=3,
        ),
        {"decided_by": "uma", "note": "Fine.", "together_with": ["vic"], "policy": 3},
    ),
    (
        ManuallyDenied(
            id=ID,
            occurred_at=AT,
            decided_by="uma",
            reasons=("other",),
            reason_text="You have moved away.",
            together_with=("vic",),
            policy=3,
        ),
        {
            "decided_by": "uma",
            "reasons": ["other"],
            "reason_text": "You have moved away.",
            "note": "",
            "together_with": ["vic"],
            "policy": 3,
        },
    ),
    (
        NoteAdded(id=ID, occurred_at=AT, by="uma", text="Called, no answer."),
        {"by": "uma", "text": "Called, no answer."},
    ),
    (RequestClaimed(id=ID, occurred_at=AT, by="uma", until=AT), {"by": "uma", "until": MOMENT}),
    (ClaimExtended(id=ID, occurred_at=AT, by="uma", until=AT), {"by": "uma", "until": MOMENT}),
    (RequestReleased(id=ID, occurred_at=AT, by="uma"), {"by": "uma"}),
    (
        RequestHandedOver(id=ID, occurred_at=AT, by="uma", to="ulf", until=AT, why="Lunch."),
        {"by": "uma", "to": "ulf", "until": MOMENT, "why": "Lunch."},
    ),
    (
        RequestEscalated(id=ID, occurred_at=AT, by="uma", why="Too large for me."),
        {"by": "uma", "why": "Too large for me."},
    ),
    (ApplicationLapsed(id=ID, occurred_at=AT), {}),
]
NAMES = [type(event).__name__ for event, _ in GOLDEN]


def test_every_event_type_is_pinned() -> None:
    assert sorted(NAMES) == sorted(each.__name__ for each in get_args(LoanEvent))


@pytest.mark.parametrize(("event", "fields"), GOLDEN, ids=NAMES)
def test_an_event_is_stored_as_it_always_was(event: LoanEvent, fields: dict[str, Any]) -> None:
    encoded = codec.encode(event, command_id=COMMAND_ID, user="uma")

    assert encoded.type == type(event).__name__
    assert json.loads(encoded.data) == COMMON | fields
    assert json.loads(encoded.metadata) == {
        "$correlationId": str(ID),
        "$causationId": str(COMMAND_ID),
        "user": "uma",
        "schemaVersion": type(event).SCHEMA_VERSION,
    }


@pytest.mark.parametrize(("event", "fields"), GOLDEN, ids=NAMES)
def test_what_is_stored_is_read_back(event: LoanEvent, fields: dict[str, Any]) -> None:
    stored = json.dumps(COMMON | fields).encode()
    assert codec.decode(type(event).__name__, stored, _version_of(event)) == event


@pytest.mark.parametrize(("event", "fields"), GOLDEN, ids=NAMES)
def test_fields_of_a_newer_version_are_ignored(event: LoanEvent, fields: dict[str, Any]) -> None:
    stored = json.dumps(COMMON | fields | {"added_later": [1, 2]}).encode()
    assert codec.decode(type(event).__name__, stored, _version_of(event)) == event


@pytest.mark.parametrize(("event", "fields"), GOLDEN, ids=NAMES)
def test_a_newer_schema_is_not_read_even_if_it_would_fit(
    event: LoanEvent, fields: dict[str, Any]
) -> None:
    stored = json.dumps(COMMON | fields).encode()
    with pytest.raises(WrittenByNewerVersion) as newer:
        codec.decode(type(event).__name__, stored, _version_of(event, newer_by=1))
    version = type(event).SCHEMA_VERSION + 1
    assert (newer.value.event_type, newer.value.version) == (type(event).__name__, version)


def _version_of(event: Event, *, newer_by: int = 0) -> bytes:
    return json.dumps({"schemaVersion": type(event).SCHEMA_VERSION + newer_by}).encode()


# As version 1 stored them, with what they mean today.
STORED_BY_VERSION_1: list[tuple[str, LoanEvent]] = [
    ('{"credit_score":5}', CreditChecked(id=ID, occurred_at=AT, credit_score=5)),
    ("{}", AutoApproved(id=ID, occurred_at=AT)),
    ("{}", AutoDenied(id=ID, occurred_at=AT)),
    (
        '{"name":"Zoë","national_id":"123456aa","amount":5000,"credit_score":5}',
        ManualReviewRequired(
            id=ID,
            occurred_at=AT,
            name="Zoë",
            national_id="123456aa",
            amount=5000,
            credit_score=5,
            requested_at=AT,
        ),
    ),
    (
        '{"decided_by":"uma","note":"Fine."}',
        ManuallyApproved(id=ID, occurred_at=AT, decided_by="uma", note="Fine."),
    ),
    (
        '{"decided_by":"uma","reason":"too_much_debt","note":"Three loans."}',
        ManuallyDenied(
            id=ID,
            occurred_at=AT,
            decided_by="uma",
            reasons=("too_much_debt",),
            note="Three loans.",
        ),
    ),
]


@pytest.mark.parametrize(
    ("fields", "event"), STORED_BY_VERSION_1, ids=lambda each: type(each).__name__
)
@pytest.mark.parametrize("metadata", [b"", b'{"schemaVersion": 1}'])
def test_version_1_is_read_as_it_was_meant(fields: str, event: LoanEvent, metadata: bytes) -> None:
    stored = json.dumps(COMMON | json.loads(fields)).encode()
    assert codec.decode(type(event).__name__, stored, metadata) == event


POLICY_EVENTS: list[tuple[PolicyEvent, dict[str, Any]]] = [
    (
        PolicyProposed(
            id=ID,
            occurred_at=AT,
            version=1,
            by="pat",
            why="Two people above 10,000.",
            effective_at=AT,
            policy=Policy(
                automatic_up_to=10_000,
                four_eyes_above=10_000,
                reasons={"other": Reason(staff="Another", applicant="Another.", active=False)},
                factors={"late_payments": Factor(applicant="You paid late.")},
                lender=Lender(name="A lender", address="1 High Street"),
                supervisor=Supervisor(name="A supervisor", address="2 High Street"),
                bureau=Bureau(name="A clearing house"),
            ),
        ),
        {
            "version": 1,
            "by": "pat",
            "why": "Two people above 10,000.",
            "effective_at": MOMENT,
            "policy": {
                "deny_up_to": 4,
                "approve_from": 7,
                "deny_unexplained": True,
                "automatic_up_to": 10_000,
                "four_eyes_above": 10_000,
                "lease": "PT10M",
                "hand_over_lease": "PT4H",
                "decide_within": "P2D",
                "undo_seconds": 0,
                "offer_days": 30,
                "answer_days": 14,
                "rounds_of_questions": 3,
                "review_days": 60,
                "law": "both",
                "currency": "",
                "reasons": {
                    "other": {"staff": "Another", "applicant": "Another.", "active": False}
                },
                "factors": {"late_payments": {"applicant": "You paid late.", "active": True}},
                "lender": {"name": "A lender", "address": "1 High Street", "phone": ""},
                "supervisor": {"name": "A supervisor", "address": "2 High Street"},
                "bureau": {
                    "name": "A clearing house",
                    "address": "",
                    "phone": "",
                    "range": "1 to 10",
                },
                "statement": "",
            },
        },
    ),
    (PolicyConfirmed(id=ID, occurred_at=AT, version=1, by="paul"), {"version": 1, "by": "paul"}),
    (PolicyWithdrawn(id=ID, occurred_at=AT, version=1, by="paul"), {"version": 1, "by": "paul"}),
]


@pytest.mark.parametrize(("event", "fields"), POLICY_EVENTS, ids=lambda each: type(each).__name__)
def test_the_policys_events_are_pinned_too(event: PolicyEvent, fields: dict[str, Any]) -> None:
    encoded = codec.encode(event, command_id=COMMAND_ID, user="pat")
    assert json.loads(encoded.data) == COMMON | fields
    classes = codec.POLICY_STREAM.classes
    assert codec.decode_as(classes, encoded.type, encoded.data, encoded.metadata) == event


def test_a_policy_of_a_newer_version_of_the_program_is_read() -> None:
    event, fields = POLICY_EVENTS[0]
    newer = fields["policy"] | {"added_later": 1, "lender": {**fields["policy"]["lender"], "x": 1}}
    stored = json.dumps(COMMON | fields | {"policy": newer}).encode()
    classes = codec.POLICY_STREAM.classes
    assert codec.decode_as(classes, "PolicyProposed", stored, b"") == event


RESERVATIONS: list[tuple[ReservationEvent, dict[str, Any]]] = [
    (ReservationTaken(id=ID, occurred_at=AT, covers=None), {"covers": None}),
    (ReservationReleased(id=ID, occurred_at=AT), {}),
]


@pytest.mark.parametrize(("event", "fields"), RESERVATIONS)
def test_reservations_are_pinned_too(event: ReservationEvent, fields: dict[str, Any]) -> None:
    encoded = codec.encode(event, command_id=COMMAND_ID, user="reservations")
    assert json.loads(encoded.data) == COMMON | fields
    stream = codec.reservation_stream("Reservation:0a")
    read = codec.decode_as(stream.classes, encoded.type, encoded.data, encoded.metadata)
    assert read == event
    assert codec.decode(encoded.type, encoded.data) is None, "no event of a loan request"


REQUESTED, CHECKED = GOLDEN[0][0], GOLDEN[1][0]


@pytest.mark.parametrize(
    ("events", "at_once"),
    [((REQUESTED, CHECKED), True), ((REQUESTED,), False), ((CHECKED,), False)],
    ids=["with its score", "without", "the score later"],
)
def test_what_is_recorded_with_its_score_says_so(events: list[LoanEvent], at_once: bool) -> None:
    for encoded in codec.encode_all(events, command_id=COMMAND_ID, user="applicant"):
        recorded = recorded_as(encoded.type, encoded.data)
        stored = dataclasses.replace(recorded, metadata=encoded.metadata)
        assert codec.is_scored_at_once(stored) is at_once


@pytest.mark.parametrize("metadata", [b"", b"{}", b"\xff", b'{"scoredAtOnce": 1}'])
def test_what_says_nothing_of_its_score_may_have_none(metadata: bytes) -> None:
    stored = dataclasses.replace(recorded_as("LoanRequested", b"{}"), metadata=metadata)
    assert not codec.is_scored_at_once(stored)


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        (json.dumps({"$causationId": str(COMMAND_ID)}).encode(), COMMAND_ID),
        (b'{"$causationId": "no UUID"}', None),
        (b"{}", None),
        (b"", None),
    ],
)
def test_the_command_id_is_read_from_the_metadata(metadata: bytes, expected: UUID | None) -> None:
    assert codec.command_id(metadata) == expected


def test_the_name_of_a_stream_has_the_loan_requests_id() -> None:
    assert codec.loan_request_id(codec.stream_name(ID)) == ID


@pytest.mark.parametrize(
    "name",
    [
        str(ID),
        f"Reservation:{ID}",
        "LoanRequest:ABCDEF00-0000-4000-8000-000000000001",
        f"LoanRequest:{ID.hex}",
        f"LoanRequest:{{{ID}}}",
        f"LoanRequest:{ID} ",
        f"loanRequest:{ID}",
        "LoanRequest:any",
        "",
    ],
)
def test_other_streams_have_no_loan_request(name: str) -> None:
    with pytest.raises(ValueError, match=r"stream of a loan request|badly formed"):
        codec.loan_request_id(name)


HASH = "0a" * 32


@pytest.mark.parametrize(
    ("change", "is_loan_event", "is_reservation_event"),
    [
        ({}, True, False),
        ({"stream_name": f"Shop:{ID}"}, False, False),
        ({"content_type": "application/octet-stream"}, False, False),
        ({"type": "OrderPlaced"}, False, False),
        ({"type": "ReservationTaken"}, False, False),
        ({"type": "ReservationTaken", "stream_name": f"Reservation:{HASH}"}, False, True),
        ({"type": "ReservationTaken", "stream_name": f"Reservation:{HASH.upper()}"}, False, False),
        ({"type": "ReservationTaken", "stream_name": "Reservation:table-7"}, False, False),
        ({"type": "LoanRequested", "stream_name": f"Reservation:{HASH}"}, False, False),
    ],
)
def test_events_of_other_applications_are_not_taken_for_ours(
    change: dict[str, Any], is_loan_event: bool, is_reservation_event: bool
) -> None:
    ours = recorded_as("LoanRequested")
    event = dataclasses.replace(ours, **change)
    assert codec.is_loan_event(event) is is_loan_event
    assert codec.is_reservation_event(event) is is_reservation_event


def test_a_type_of_a_newer_version_is_noticed_by_its_metadata() -> None:
    with pytest.raises(WrittenByNewerVersion, match="LoanPaidBack, schema 1"):
        codec.decode("LoanPaidBack", b"{}", b'{"schemaVersion": 1}')


@pytest.mark.parametrize(("event", "fields"), GOLDEN, ids=NAMES)
def test_a_version_that_lacks_a_type_notices_that_it_is_newer(
    event: LoanEvent, fields: dict[str, Any]
) -> None:
    name = type(event).__name__
    older = {known: each for known, each in codec.LOAN_EVENTS.items() if known != name}
    encoded = codec.encode(event, command_id=COMMAND_ID, user="uma")
    with pytest.raises(WrittenByNewerVersion, match=name):
        codec.decode_as(older, encoded.type, encoded.data, encoded.metadata)


@pytest.mark.parametrize(
    ("event_type", "metadata"),
    [
        ("LoanPaidBack", b""),
        ("LoanPaidBack", b"not json"),
        ("LoanPaidBack", b'{"user": "uma"}'),
        ("LoanPaidBack", b'{"schemaVersion": "1"}'),
        ("LoanPaidBack", b'{"schemaVersion": true}'),
        ("LoanPaidBack", b'{"schemaVersion": 0}'),
        ("LoanPaidBack", b'{"schemaVersion": 2147483648}'),
        ("loan-paid-back", b'{"schemaVersion": 1}'),
        ("$metadata", b'{"schemaVersion": 1}'),
        ("L" * 201, b'{"schemaVersion": 1}'),
    ],
)
def test_a_type_of_others_is_passed_over(event_type: str, metadata: bytes) -> None:
    assert codec.decode(event_type, b"{}", metadata) is None


@pytest.mark.parametrize(
    ("event_type", "version", "expected"),
    [("AutoApproved", 2, True), ("AutoApproved", 3, False), ("LoanPaidBack", 1, False)],
)
def test_it_knows_what_it_can_read(event_type: str, version: int, expected: bool) -> None:
    assert codec.can_read(event_type, version) is expected


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"{}", b'{"id": "x"}'])
def test_data_that_does_not_fit_the_type_is_an_error(data: bytes) -> None:
    with pytest.raises(ValidationError):
        codec.decode("AutoApproved", data)


class ThirdVersion(CreditChecked):
    """As if version 1 had called the field `score`, and version 2 had stored it as text."""

    SCHEMA_VERSION = 3


def test_an_old_version_is_upcast_step_by_step() -> None:
    upcasters = {
        ("ThirdVersion", 1): lambda data: {**data, "credit_score": data["score"]},
        ("ThirdVersion", 2): lambda data: {**data, "credit_score": int(data["credit_score"])},
    }

    def decode(fields: dict[str, str], metadata: bytes = b"") -> ThirdVersion | None:
        data = json.dumps({**COMMON, **fields}).encode()
        classes = {"CreditChecked": ThirdVersion}
        return codec.decode_as(classes, "CreditChecked", data, metadata, upcasters=upcasters)

    assert decode({"score": "5"}) == ThirdVersion(id=ID, occurred_at=AT, credit_score=5)
    second = decode({"credit_score": "6"}, b'{"schemaVersion": 2}')
    assert second == ThirdVersion(id=ID, occurred_at=AT, credit_score=6)


@pytest.mark.parametrize("metadata", [b"", b"not json", b"[]", b"\xff"])
def test_metadata_that_is_no_object_counts_as_empty(metadata: bytes) -> None:
    assert codec.read_metadata(metadata) == {}


def test_event_ids_follow_from_the_command() -> None:
    def event_id(command_id: UUID, event: LoanEvent) -> UUID:
        return codec.encode(event, command_id=command_id, user="uma").id

    approved, denied = AutoApproved(id=ID, occurred_at=AT), AutoDenied(id=ID, occurred_at=AT)
    assert event_id(COMMAND_ID, approved) == event_id(COMMAND_ID, approved)
    assert event_id(COMMAND_ID, approved) != event_id(COMMAND_ID, denied)
    assert event_id(COMMAND_ID, approved) != event_id(ID, approved)
