"""Reads a loan request's events from the event store."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.conf import settings
from django.utils.dateparse import parse_datetime
from django.utils.timezone import is_aware
from esdbclient import RecordedEvent
from esdbclient.exceptions import EventStoreDBClientException, NotFound, StreamIsDeleted

from lepret.common.event_store_client import event_store_client
from lepret.common.formats import moment, money
from lepret.common.turns import waiting_elsewhere
from loans.adapters import codec
from loans.domain.events import (
    ApplicationLapsed,
    ApprovalProposed,
    AutoApproved,
    AutoDenied,
    ClaimExtended,
    CreditChecked,
    CreditCheckParked,
    DenialProposed,
    LoanRequested,
    ManuallyApproved,
    ManuallyDenied,
    ManualReviewRequired,
    NoteAdded,
    RequestClaimed,
    RequestEscalated,
    RequestHandedOver,
    RequestReleased,
)
from loans.domain.policy import VERSION_0, Policy
from readmodels.policies import HIGHEST_VERSION, words_of

AUTOMATIC_RULES: Final = "automatic rules"

# Who or what caused the events that no member of staff causes. The metadata name whoever sent the
# command, which is the applicant for a check and a decision that follow at once.
_ACTORS: Final[Mapping[str, str]] = {
    LoanRequested.__name__: "applicant",
    CreditChecked.__name__: "credit bureau",
    CreditCheckParked.__name__: "credit check worker",
    AutoApproved.__name__: AUTOMATIC_RULES,
    AutoDenied.__name__: AUTOMATIC_RULES,
    ManualReviewRequired.__name__: AUTOMATIC_RULES,
    ApplicationLapsed.__name__: AUTOMATIC_RULES,
}

# What has happened, for people who do not know the names of the events.
_WORDS: Final[Mapping[str, str]] = {
    LoanRequested.__name__: "Applied",
    CreditChecked.__name__: "Credit checked",
    CreditCheckParked.__name__: "Credit check given up for now",
    AutoApproved.__name__: "Approved at once",
    AutoDenied.__name__: "Denied at once",
    ManualReviewRequired.__name__: "Passed to an underwriter",
    ApprovalProposed.__name__: "Would approve",
    DenialProposed.__name__: "Would deny",
    ManuallyApproved.__name__: "Approved",
    ManuallyDenied.__name__: "Denied",
    NoteAdded.__name__: "Note added",
    RequestClaimed.__name__: "Claimed",
    ClaimExtended.__name__: "Claimed for longer",
    RequestReleased.__name__: "Released",
    RequestHandedOver.__name__: "Handed over",
    RequestEscalated.__name__: "Escalated",
    ApplicationLapsed.__name__: "Application not recorded in time",
}
# Of what an event says, all that its page does not say anyway, and how it is called there.
_DETAILS: Final[Mapping[str, str]] = {
    "credit_score": "score",
    "reason": "because",
    "reasons": "because",
    "reason_text": "told",
    "note": "note",
    "together_with": "together with",
    "to": "to",
    "until": "until",
    "why": "because",
    "policy": "policy",
}


# More than people read, and few enough for a page, whatever others have put into the stream.
MOST_ENTRIES: Final = 1_000
_MOST_BYTES: Final = 64 * 1024
_LONGEST_VALUE: Final = 2_000


class HistoryUnavailable(Exception):
    """The event store did not answer in time."""


class HistoryGone(Exception):
    """An operator has deleted or truncated the stream, so that it no longer says what happened."""


@dataclass(frozen=True)
class HistoryEntry:
    """One event as people read it. `problem` says why its data cannot be shown, if so."""

    revision: int
    recorded_at: datetime | None
    type: str
    who: str
    data: Mapping[str, str]
    problem: str = ""

    @property
    def words(self) -> str:
        """What has happened; of an event that this version does not know, its type."""
        return _WORDS.get(self.type, self.type)

    @property
    def details(self) -> Mapping[str, str]:
        """What is to be known of it beside what every page of the request says."""
        told = {name: self.data.get(name, "-") for name in _DETAILS}
        return {_DETAILS[name]: value for name, value in told.items() if value != "-"}


@dataclass(frozen=True)
class History:
    """The events of a loan request, oldest first; `note` is what people must know of the list."""

    entries: Sequence[HistoryEntry] = ()
    note: str = ""


def history_of(loan_request_id: UUID) -> History:
    """The events of a loan request, also those of types that this version does not know.

    Empty if there is no such request. An event that cannot be read is there as what it is.

    Raises:
        HistoryUnavailable: the event store did not answer in time.
    """
    try:
        events = _read(loan_request_id, limit=MOST_ENTRIES + 1)
    except HistoryGone:
        return History(note="The record of this request was deleted in the event store.")
    return History([_entry(event) for event in events[:MOST_ENTRIES]], _note_on(events))


def _note_on(events: Sequence[RecordedEvent]) -> str:
    if not _is_whole(events):
        return "The record of this request was truncated in the event store: its beginning is gone."
    if len(events) > MOST_ENTRIES:
        return f"These are the first {MOST_ENTRIES:,} events. There are more."
    return ""


def is_recorded(loan_request_id: UUID) -> bool:
    """Whether the event store has a loan request, which the read models may not have yet.

    A stream alone is not enough: an application may have lapsed before it was recorded. In an event
    that only a newer version of the program knows, it may have been.

    Raises:
        HistoryGone: it had something that cannot be known any more.
        HistoryUnavailable: the event store did not answer in time.
    """
    events = _read(loan_request_id)
    if not _is_whole(events):
        raise HistoryGone
    return any(
        event.type == LoanRequested.__name__ or codec.is_of_newer_type(event.type, event.metadata)
        for event in events
    )


def _is_whole(events: Sequence[RecordedEvent]) -> bool:
    return not events or events[0].stream_position == 0


def _read(loan_request_id: UUID, *, limit: int = sys.maxsize) -> Sequence[RecordedEvent]:
    """The events of a request; none if it was never recorded.

    Raises:
        HistoryGone: all of them are gone.
        HistoryUnavailable: the event store did not answer in time.
    """
    name = codec.stream_name(loan_request_id)
    events = _stream(name, limit=limit)
    if events is not None and not events:
        raise HistoryGone
    if events is None:
        metadata = _stream(codec.metadata_stream_name(name), backwards=True, limit=1)
        if metadata and codec.is_truncated_by(metadata[0].data):
            raise HistoryGone
    return events or ()


def _stream(name: str, **options: Any) -> Sequence[RecordedEvent] | None:
    """The events of a stream; `None` if it does not exist, or was deleted so that it may."""
    seconds = settings.EVENTSTORE_TIMEOUT_SECONDS
    try:
        with waiting_elsewhere():
            return event_store_client().get_stream(name, timeout=seconds, **options)
    except NotFound:
        return None
    except StreamIsDeleted as error:
        raise HistoryGone from error
    except EventStoreDBClientException as error:
        raise HistoryUnavailable from error


def _entry(event: RecordedEvent) -> HistoryEntry:
    user = _shown(codec.read_metadata(event.metadata).get("user", ""))
    data, problem = {}, ""
    try:
        data = _data_of(event)
    except _NotReadable as why:
        problem = f"not readable: {why}"
    return HistoryEntry(
        revision=event.stream_position,
        recorded_at=event.recorded_at,
        type=event.type,
        who=_ACTORS.get(event.type, user),
        data=data,
        problem=problem,
    )


class _NotReadable(Exception):
    """Data that cannot be shown. The message says why."""


def _data_of(event: RecordedEvent) -> dict[str, str]:
    """The data as people read them: anybody may have written anything."""
    size = f"{len(event.data):,} bytes"
    if event.content_type != codec.CONTENT_TYPE:
        raise _NotReadable(f"{size} of {event.content_type}, not of JSON")
    if len(event.data) > _MOST_BYTES:
        raise _NotReadable(f"{size} are too many to be shown")
    try:
        data = json.loads(event.data)
        if not isinstance(data, dict):
            raise _NotReadable(f"{size} of JSON, but no object")
        words = words_of(_policy_in(data))
        return {_shown(name): _in_words(name, data[name], words) for name in data if name != "id"}
    except UnicodeDecodeError:
        raise _NotReadable(f"{size} that are not UTF-8") from None
    except RecursionError:
        raise _NotReadable(f"{size} of JSON that is nested too deeply") from None
    except ValueError:
        raise _NotReadable(f"{size} that are not JSON") from None


def _policy_in(data: Mapping[str, Any]) -> int:
    """The version of the policy that an event names."""
    policy = data.get("policy")
    if type(policy) is int and 0 <= policy <= HIGHEST_VERSION:
        return policy
    return VERSION_0.version


def _in_words(name: str, value: Any, policy: Policy) -> str:
    if value in (None, ""):
        return "-"
    if name == "amount" and type(value) is int:
        return money(value)
    if isinstance(value, list):
        is_coded = name in ("reasons", "factors")
        words = [policy.to_staff(each) if is_coded else each for each in map(str, value)]
        return _shown(", ".join(words) or "-")
    try:
        at = _moment_in(value)
        return moment(at) if at else _shown(value)
    except OverflowError:  # A time at the end of time has no equivalent in another zone.
        return _shown(value)


def _shown(value: Any) -> str:
    """What a page can hold of a value: JSON may have halves of characters, and be very long."""
    text = str(value).encode(errors="replace").decode()
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"


def _moment_in(value: Any) -> datetime | None:
    try:
        at = parse_datetime(value) if isinstance(value, str) else None
    except ValueError:  # It looks like a time, but is none.
        return None
    return at if at and is_aware(at) else None
