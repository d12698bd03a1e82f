"""The validation of input, which is all in the commands."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime
from itertools import chain, zip_longest
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from loans.domain.commands import ApproveLoan, DenyLoan, RequestLoan
from tests.support.bad_input import BAD_AMOUNTS_IN_JSON, BAD_TEXT, GOOD, PASTED

NOW = datetime(2026, 11, 23, tzinfo=UTC)
SEPARATORS = [
    "",
    " ",
    "-",
    "\t",
    "\u00a0",
    "\u2007",
    "\u2011",
    "\u2212",
    "\u200b",
    "\u2069",
    "\ufeff",
]


def odd_text() -> st.SearchStrategy[str]:
    """Text with more of what nobody sees, of joiners and of accents than chance would give."""
    odd = "a\u0627\u0915\u094d\u0323\u0301\u200c\u200d\u200b\u200e\u202e\u3164\u2800\u00a0 \t\n"
    return (
        st.text() | st.text(st.sampled_from(odd)) | st.text(st.sampled_from(odd) | st.characters())
    )


def request_loan(**changes: Any) -> RequestLoan:
    return RequestLoan.model_validate({"id": uuid4(), "issued_at": NOW, **GOOD, **changes})


def fields_refused(invalid: pytest.ExceptionInfo[ValidationError]) -> list[Any]:
    return [error["loc"][0] for error in invalid.value.errors()]


@pytest.mark.parametrize(("field", "value"), BAD_TEXT.values(), ids=BAD_TEXT.keys())
def test_bad_text_is_refused_by_field(field: str, value: str) -> None:
    with pytest.raises(ValidationError) as invalid:
        request_loan(**{field: value})
    assert fields_refused(invalid) == [field]


@pytest.mark.parametrize(("field", "sent", "meant"), PASTED.values(), ids=PASTED.keys())
def test_what_means_one_thing_only_is_taken_for_that(field: str, sent: str, meant: str) -> None:
    command = request_loan(**{field: sent})
    assert getattr(command, field) == meant
    assert getattr(request_loan(**{field: meant}), field) == meant


@pytest.mark.parametrize("amount", BAD_AMOUNTS_IN_JSON.values(), ids=BAD_AMOUNTS_IN_JSON.keys())
def test_bad_amounts_are_refused(amount: object) -> None:
    with pytest.raises(ValidationError) as invalid:
        request_loan(amount=amount)
    assert fields_refused(invalid) == ["amount"]


@pytest.mark.parametrize("field", ["name", "national_id", "amount", "id", "issued_at"])
def test_every_field_but_the_address_is_required(field: str) -> None:
    fields = {"id": uuid4(), "issued_at": NOW, **GOOD}
    del fields[field]
    with pytest.raises(ValidationError) as invalid:
        RequestLoan.model_validate(fields)
    assert fields_refused(invalid) == [field]


def test_unknown_fields_are_refused() -> None:
    with pytest.raises(ValidationError) as invalid:
        request_loan(status="approved")
    assert fields_refused(invalid) == ["status"]


@pytest.mark.parametrize("score", [0, 11, 5.0, True, "5"])
def test_a_score_is_a_whole_number_from_1_to_10(score: object) -> None:
    with pytest.raises(ValidationError):
        request_loan(credit_score=score)


def test_errors_quote_nothing_of_what_was_sent() -> None:
    with pytest.raises(ValidationError) as invalid:
        request_loan(national_id="999999zzz")
    assert "999999zzz" not in str(invalid.value)


def test_a_command_shows_no_personal_data_in_a_log() -> None:
    shown = repr(request_loan(name="Ann Example", national_id="123456aa", address="High Street"))
    assert not any(personal in shown for personal in ("Ann", "123456aa", "High Street"))


def test_names_are_trimmed_and_national_ids_are_in_lower_case() -> None:
    command = request_loan(name="  Zoë O'Neil-李  ", national_id="123456AB")
    assert (command.name, command.national_id) == ("Zoë O'Neil-李", "123456ab")


def test_an_address_may_have_several_lines_and_may_be_left_empty() -> None:
    assert request_loan(address="1 High Street\r\nTown").address == "1 High Street\nTown"
    assert request_loan(address="").address == ""


@given(st.integers(1, 9_999_999_999))
def test_every_amount_in_range_is_accepted(amount: int) -> None:
    assert request_loan(amount=amount).amount == amount


@given(st.from_regex(r"\A[0-9]{6}[A-Za-z]{2}\Z"))
def test_every_well_formed_national_id_is_accepted(national_id: str) -> None:
    assert request_loan(national_id=national_id).national_id == national_id.lower()


@given(odd_text())
def test_a_name_is_refused_by_field_or_visible_and_kept_as_it_is_from_then_on(sent: str) -> None:
    name, refused = None, []
    try:
        name = request_loan(name=sent).name
    except ValidationError as invalid:
        refused = [error["loc"][0] for error in invalid.errors()]
    if name is None:
        assert refused == ["name"]
        return
    assert 1 <= len(name) <= 200
    assert request_loan(name=name).name == name == unicodedata.normalize("NFC", name).strip()
    assert any(character.isalpha() for character in name)
    assert not set(name) & set("\t\n\u200b\u200e\u200f\u202e\u2066\u3164\u115f\u2800\ufeff")


@given(odd_text())
def test_a_text_is_refused_or_kept_as_it_is_from_then_on(sent: str) -> None:
    try:
        address = request_loan(address=sent).address
    except ValidationError:
        return
    assert request_loan(address=address).address == address
    assert len(address) <= 500


@given(st.lists(st.sampled_from(SEPARATORS), min_size=9, max_size=9))
def test_separators_anywhere_in_a_national_id_make_no_difference(separators: list[str]) -> None:
    sent = "".join(chain.from_iterable(zip_longest(separators, "123456AB", fillvalue="")))
    assert request_loan(national_id=sent).national_id == "123456ab"


def test_commands_cannot_be_changed() -> None:
    command = request_loan()
    with pytest.raises(ValidationError):
        setattr(command, "amount", 1)  # noqa: B010 (mypy refuses the plain assignment)


class TestDecisions:
    ID = UUID("00000000-0000-4000-8000-000000000001")

    def deny(self, **changes: Any) -> DenyLoan:
        fields = {"id": self.ID, "issued_at": NOW, "decided_by": "uma", "shown_revision": 2}
        fields["reasons"] = ["other"]
        return DenyLoan.model_validate({**fields, **changes})

    @pytest.mark.parametrize(
        "reasons",
        [
            [],
            ["other", "other"],
            ["one", "two", "three", "four", "five"],
            [""],
            ["No Code"],
            ["x" * 51],
            ["ends_with_a_line\n"],
            [None],
            [1],
            "other",
            None,
        ],
    )
    def test_one_to_four_different_codes_are_reasons(self, reasons: object) -> None:
        with pytest.raises(ValidationError):
            self.deny(reasons=reasons)

    @pytest.mark.parametrize(
        ("text", "problem"), [("too short", "at least 10"), ("x" * 201, "At most 200")]
    )
    def test_another_reason_is_told_in_ten_to_two_hundred_characters(
        self, text: str, problem: str
    ) -> None:
        with pytest.raises(ValidationError, match=problem):
            self.deny(reason_text=text)
        assert self.deny(reason_text="x" * 200).reason_text == "x" * 200

    def test_only_another_reason_is_told_in_words(self) -> None:
        with pytest.raises(ValidationError, match="not among the reasons"):
            self.deny(reasons=["too_much_debt"], reason_text="You owe too much.")

    def test_the_id_must_be_a_uuid(self) -> None:
        with pytest.raises(ValidationError):
            self.deny(id="not-a-uuid")

    def test_the_same_decision_has_the_same_command_id_and_others_have_others(self) -> None:
        later = datetime(2026, 11, 24, tzinfo=UTC)
        approval = ApproveLoan(id=self.ID, issued_at=NOW, decided_by="uma", shown_revision=2)
        assert self.deny().command_id == self.deny(issued_at=later).command_id
        different = {
            self.deny().command_id,
            self.deny(decided_by="vic").command_id,
            self.deny(reasons=["too_much_debt"]).command_id,
            self.deny(reason_text="You have moved away.").command_id,
            self.deny(shown_revision=3).command_id,
            self.deny(note="x").command_id,
            self.deny(id=uuid4()).command_id,
            approval.command_id,
        }
        assert len(different) == 8

    def test_without_what_was_shown_each_is_a_command_of_its_own(self) -> None:
        later = datetime(2026, 11, 24, tzinfo=UTC)
        first, second = (self.deny(shown_revision=None, issued_at=at) for at in (NOW, later))
        assert first.command_id != second.command_id
