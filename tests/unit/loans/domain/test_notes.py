"""Notes on a request: given / when / then, and what tells one note from another."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from pydantic import ValidationError

from loans.domain.commands import AddNote, ApproveLoan
from loans.domain.events import LoanEvent, NoteAdded
from loans.domain.loan_request import MOST_NOTES, TooManyNotes, UnknownLoanRequest
from tests.support.given import given
from tests.support.sample_events import (
    APPROVED,
    APPROVED_BY_HAND,
    CHECKED,
    DENIED_BY_HAND,
    FOR,
    ID,
    LAPSED,
    LATER,
    PARKED,
    REQUESTED,
    REVIEW,
)

WAITING: tuple[LoanEvent, ...] = (REQUESTED, CHECKED, REVIEW)
TEXT = "Called, no answer."


def add(by: str = "una", text: str = TEXT, *, minute: int = 0, **changes: Any) -> AddNote:
    issued_at = LATER + timedelta(minutes=minute)
    return AddNote(id=ID, issued_at=issued_at, by=by, text=text, **changes)


def added(by: str = "una", text: str = TEXT, *, minute: int = 0) -> NoteAdded:
    return NoteAdded(id=ID, occurred_at=LATER + timedelta(minutes=minute), by=by, text=text)


@pytest.mark.parametrize("before", [(), (LAPSED,)], ids=["nothing", "lapsed"])
def test_what_was_not_requested_gets_no_note(before: tuple[LoanEvent, ...]) -> None:
    given(*before).when(add()).then_rejected(UnknownLoanRequest)


@pytest.mark.parametrize(
    "before",
    [
        (REQUESTED,),
        (REQUESTED, PARKED),
        WAITING,
        (*WAITING, FOR),
        (REQUESTED, CHECKED, APPROVED),
        (*WAITING, APPROVED_BY_HAND),
        (*WAITING, DENIED_BY_HAND),
    ],
    ids=["received", "parked", "waiting", "voted", "at once", "approved", "denied"],
)
def test_whatever_was_requested_gets_it(before: tuple[LoanEvent, ...]) -> None:
    given(*before).when(add()).then(added())


def test_the_same_command_adds_nothing() -> None:
    given(*WAITING, added()).when(add()).then_nothing()


@pytest.mark.parametrize("other", [add("uma"), add(text="Called again."), add(minute=1)])
def test_another_person_text_or_time_is_another_note(other: AddNote) -> None:
    expected = NoteAdded(id=ID, occurred_at=other.issued_at, by=other.by, text=other.text)
    given(*WAITING, added()).when(other).then(expected)


def test_there_are_at_most_100() -> None:
    all_but_one = [added(minute=minute) for minute in range(MOST_NOTES - 1)]
    last = added(minute=MOST_NOTES)
    given(*WAITING, *all_but_one).when(add(minute=MOST_NOTES)).then(last)
    full = given(*WAITING, *all_but_one, last)
    full.when(add("uma")).then_rejected(TooManyNotes, "100 notes")
    full.when(add(minute=MOST_NOTES)).then_nothing()


def test_a_note_decides_nothing() -> None:
    approval = ApproveLoan(id=ID, issued_at=LATER, decided_by="uma", note="fine")
    given(*WAITING, added()).when(approval).then(APPROVED_BY_HAND)


@pytest.mark.parametrize("shown", [{"shown_revision": 2}, {"sent_as": uuid4()}])
def test_sent_again_it_is_the_same_command(shown: dict[str, Any]) -> None:
    first, again = add(**shown), add(minute=5, **shown)
    assert first.command_id == again.command_id
    others = [add("uma", **shown), add(text="Called again.", **shown), add(shown_revision=3), add()]
    assert first.command_id not in {each.command_id for each in others}


def test_without_a_page_or_an_id_each_moment_makes_another() -> None:
    assert add().command_id == add().command_id
    assert add().command_id != add(minute=1).command_id


@pytest.mark.parametrize("text", ["", " \n ", "x" * 501, "a\u202eb", "\x00"])
def test_a_note_is_plain_text_of_1_to_500_characters(text: str) -> None:
    with pytest.raises(ValidationError) as refused:
        add(text=text)
    assert [each["loc"] for each in refused.value.errors()] == [("text",)]


def test_its_text_is_in_no_log() -> None:
    assert TEXT not in repr(add()) + repr(added())
