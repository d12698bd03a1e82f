"""Forms that build commands. The command validates; the form shows the errors.

All fields are plain `forms.Field`s, since its subclasses would trim, convert and validate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, Generic, TypeVar
from uuid import uuid4

import pydantic
from django import forms
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.forms.boundfield import BoundWidget
from django.utils import timezone
from django.utils.functional import lazy

from lepret.common.formats import currency_name, money
from lepret.common.input_errors import describe
from lepret.staff.roles import is_lead
from loans.domain.commands import (
    AddNote,
    ApproveLoan,
    DenyLoan,
    EscalateRequest,
    HandOver,
    LoanCommand,
    RequestLoan,
)
from loans.domain.fields import HIGHEST_AMOUNT
from loans.domain.policy import OTHER, Policy, Reason
from loans.web.amounts import amount_in, what_is_wrong_with

# More digits than any revision has, and few enough for int() to be fast.
_MOST_DIGITS: Final = 100

NO_UNDERWRITER: Final = "Nobody who decides on loan requests has this username."

C = TypeVar("C", bound=LoanCommand)


class CommandForm(forms.Form, Generic[C]):
    """A form that holds a `command` of `command_class` once it is valid.

    `known` has the fields of the command that the user does not fill in.
    """

    command_class: ClassVar[type[LoanCommand]]
    command: C

    def __init__(self, *args: Any, known: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._known = known or {}

    def clean(self) -> dict[str, Any]:
        filled_in = {name: value or "" for name, value in self.cleaned_data.items()}
        fields = {**self.adapt(filled_in), **self._known, "issued_at": timezone.now()}
        try:
            self.command = self.command_class.model_validate(fields)  # type: ignore[assignment]
        except pydantic.ValidationError as invalid:
            for error in invalid.errors():
                # One message for each field, which may have one already.
                if error["loc"][0] not in self.errors:
                    self._show(str(error["loc"][0]), self.describe(error))
        return self.cleaned_data

    def adapt(self, filled_in: dict[str, Any]) -> dict[str, Any]:
        """The typed values, converted to the command's types."""
        return filled_in

    def describe(self, error: Mapping[str, Any]) -> str:
        """What is wrong with a field, as a sentence."""
        return describe(error)

    def _show(self, name: str, message: str) -> None:
        is_visible = name in self.fields and not self.fields[name].widget.is_hidden
        self.add_error(name if is_visible else None, message)


def _about_amounts() -> str:
    return f"Whole {currency_name()}, such as {money(10_000)}."


class RequestLoanForm(CommandForm[RequestLoan]):
    """The application form.

    No field has `autocomplete="off"`: browsers would empty it when someone goes back to the form.
    """

    command_class = RequestLoan

    id = forms.Field(required=False, widget=forms.HiddenInput)
    name = forms.Field(
        label="Name", required=False, widget=forms.TextInput({"autocomplete": "name"})
    )
    national_id = forms.Field(
        label="National ID",
        required=False,
        help_text="Six digits and two letters, such as 123456aa.",
        widget=forms.TextInput({"autocapitalize": "none", "spellcheck": "false"}),
    )
    amount = forms.Field(
        label="Amount",
        required=False,
        help_text=lazy(_about_amounts, str)(),
        widget=forms.TextInput({"inputmode": "numeric"}),
    )
    address = forms.Field(
        label="Address",
        required=False,
        help_text="May be left empty.",
        widget=forms.Textarea({"autocomplete": "street-address", "rows": 2}),
    )

    @classmethod
    def blank(cls) -> RequestLoanForm:
        """An empty form with a new id. However often it is sent, it makes one request."""
        return cls(initial={"id": uuid4()})

    def take_new_id(self) -> None:
        """Keep what was typed, but make another request when the form is sent again."""
        self.data = {**{name: self.data.get(name) for name in self.fields}, "id": str(uuid4())}

    def adapt(self, filled_in: dict[str, Any]) -> dict[str, Any]:
        return filled_in | {"amount": amount_in(filled_in["amount"])}

    def describe(self, error: Mapping[str, Any]) -> str:
        match error["type"]:
            case "amount_format":
                return what_is_wrong_with(self.cleaned_data["amount"])
            case "amount_too_low":
                return f"An amount is at least {money(1)}."
            case "amount_too_high":
                return f"An amount is at most {money(HIGHEST_AMOUNT)}."
            case _:
                return super().describe(error)

    def _show(self, name: str, message: str) -> None:
        if name == "id":
            self.take_new_id()
            message = "This form had lost its number and was given a new one. Please send it again."
        super()._show(name, message)


U = TypeVar("U", ApproveLoan, DenyLoan, AddNote)


class UnderwritersForm(CommandForm[U]):
    """What an underwriter does with a request. It must name the revision that the page showed."""

    shown_revision = forms.Field(required=False, widget=forms.HiddenInput)

    def adapt(self, filled_in: dict[str, Any]) -> dict[str, Any]:
        return filled_in | {"shown_revision": _number_in(filled_in["shown_revision"])}

    def _show(self, name: str, message: str) -> None:
        if name == "shown_revision":
            message = "The page did not say what it showed. Reload it, and send this again."
        super()._show(name, message)


class ApproveLoanForm(UnderwritersForm[ApproveLoan]):
    """An approval, with an optional note."""

    command_class = ApproveLoan

    note = forms.Field(
        label="Note",
        required=False,
        help_text="For the staff. May be left empty.",
        widget=forms.Textarea({"rows": 2}),
    )


class AddNoteForm(UnderwritersForm[AddNote]):
    """A note for the staff."""

    command_class = AddNote

    text = forms.Field(required=False)


class DenyLoanForm(UnderwritersForm[DenyLoan]):
    """A denial, for one to four of the policy's reasons, with an optional note."""

    command_class = DenyLoan

    reasons = forms.Field(required=False, widget=forms.CheckboxSelectMultiple)
    reason_text = forms.Field(
        label="What the applicant is told of it",
        required=False,
        help_text="10 to 200 characters.",
        widget=forms.Textarea({"rows": 2}),
    )
    note = forms.Field(
        label="Note",
        required=False,
        help_text="For the staff. May be left empty.",
        widget=forms.Textarea({"rows": 2}),
    )

    def __init__(self, *args: Any, policy: Policy, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._policy = policy
        self._active = {code: each for code, each in policy.reasons.items() if each.active}
        self.fields["reasons"].widget.choices = [
            (code, each.staff) for code, each in self._active.items()
        ]

    def offered(self) -> list[tuple[BoundWidget, Reason]]:
        """The checkboxes, each with its reason."""
        return list(zip(self["reasons"], self._active.values(), strict=True))

    def adapt(self, filled_in: dict[str, Any]) -> dict[str, Any]:
        return super().adapt(filled_in | {"reasons": tuple(filled_in["reasons"])})

    def refuse_reason(self, code: str) -> None:
        """Say that the policy in force has no such reason (any more)."""
        words = self._policy.to_staff(code)
        problem = f"The lending policy no longer has the reason “{words}”. Please choose again."
        self.add_error("reasons", problem)

    def describe(self, error: Mapping[str, Any]) -> str:
        match error["type"]:
            case "reasons_count":
                return "Choose one to four reasons."
            case "reason_text_alone":
                words = self._policy.to_staff(OTHER)
                return f"Choose the reason “{words}” as well, or leave this empty."
            case _:
                return super().describe(error)


class HandOverForm(CommandForm[HandOver]):
    """To whom a request is given, and why. A lead may take it, too."""

    command_class = HandOver

    to = forms.Field(label="To", required=False, widget=forms.Select)
    why = forms.Field(
        label="Why",
        required=False,
        help_text="For the staff. A lead who gives away what somebody else works on has to say it.",
        widget=forms.Textarea({"rows": 2}),
    )

    def __init__(
        self, *args: Any, underwriters: Sequence[User], known: Mapping[str, Any], **kwargs: Any
    ) -> None:
        super().__init__(*args, known=known, **kwargs)
        self._underwriters = {each.get_username(): each for each in underwriters}
        offered = [name for name in self._underwriters if name != known["by"] or known["as_lead"]]
        self.fields["to"].widget.choices = [
            ("", "Choose an underwriter"),
            *((name, self._in_words(name)) for name in offered),
        ]

    def clean_to(self) -> str:
        to: str = self.cleaned_data["to"] or ""
        if not to:
            raise ValidationError("Choose an underwriter.")
        if to not in self._underwriters:
            raise ValidationError(NO_UNDERWRITER)
        return to

    def adapt(self, filled_in: dict[str, Any]) -> dict[str, Any]:
        to = self._underwriters.get(filled_in.get("to", ""))
        return filled_in | {"to_lead": to is not None and is_lead(to)}

    def _in_words(self, name: str) -> str:
        if name == self._known["by"]:
            return f"{name} (yourself)"
        return f"{name} (lead)" if is_lead(self._underwriters[name]) else name


class EscalateForm(CommandForm[EscalateRequest]):
    """Why a request is left to the leads."""

    command_class = EscalateRequest

    why = forms.Field(
        label="Why",
        required=False,
        help_text="For the lead underwriters.",
        widget=forms.Textarea({"rows": 2}),
    )


def _number_in(typed: str) -> int | str:
    """The typed digits as an int; anything else unchanged, for the command to reject.

    `int` alone would accept 1_000, +5 and the digits of other scripts.
    """
    digits = typed.strip(" ")
    if digits.isascii() and digits.isdigit() and len(digits) <= _MOST_DIGITS:
        return int(digits)
    return digits
