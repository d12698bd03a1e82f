"""The fields in which a version of the lending policy is proposed: all of it.

They are text, which is converted and validated elsewhere: see `loans.web.policy_proposals`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from django import forms
from django.conf import settings
from django.forms import BaseFormSet, formset_factory
from django.utils.functional import lazy

from loans.domain.policy import MOST_CODES, Policy
from loans.web.policy_in_words import DESK, FACTORS, FOR_LATER, LABELS, LAWS, REASONS

AMOUNTS: Final = ("automatic_up_to", "four_eyes_above")
TIMES: Final = ("lease", "hand_over_lease", "decide_within")
NUMBERS: Final = (
    "deny_up_to",
    "approve_from",
    "undo_seconds",
    "offer_days",
    "answer_days",
    "rounds_of_questions",
    "review_days",
)
WHO: Final = {
    "lender": ("name", "address", "phone"),
    "bureau": ("name", "address", "phone", "range"),
    "supervisor": ("name", "address"),
}
_EXTRA_ROWS: Final = 3
_SCHEMA: Final = Policy.model_json_schema()


def _text(label: str, help_text: str = "", **attributes: Any) -> forms.Field:
    widget = forms.TextInput(attributes)
    return forms.Field(label=label, required=False, help_text=help_text, widget=widget)


def _number(name: str) -> forms.Field:
    bounds = _SCHEMA["properties"][name]
    help_text = f"{bounds['minimum']} to {bounds['maximum']}."
    return _text(LABELS[name], help_text, inputmode="numeric")


def _several_lines(label: str, help_text: str = "", rows: int = 2) -> forms.Field:
    widget = forms.Textarea({"rows": rows})
    return forms.Field(label=label, required=False, help_text=help_text, widget=widget)


def _about_times() -> str:
    return f"Empty: at once, when it is confirmed. A time is one in {settings.TIME_ZONE}."


class PolicyForm(forms.Form):
    """All but the reasons and factors. Text is converted and validated with the command."""

    seen = forms.IntegerField(widget=forms.HiddenInput, required=False)
    why = _several_lines(
        "Why", "What the other person, and whoever looks it up later, should know."
    )
    effective_at = forms.Field(
        label="In force from",
        required=False,
        help_text=lazy(_about_times, str)(),
        widget=forms.TextInput({"type": "datetime-local"}),
    )
    deny_up_to = _number("deny_up_to")
    deny_unexplained = forms.BooleanField(label=LABELS["deny_unexplained"], required=False)
    approve_from = _number("approve_from")
    automatic_up_to = _text(LABELS["automatic_up_to"], "Empty: any amount.", inputmode="numeric")
    four_eyes_above = _text(
        LABELS["four_eyes_above"], "Empty: one is enough for any amount.", inputmode="numeric"
    )
    lender_name = _text("Name", "Empty: no lender is named.")
    lender_address = _text("Address")
    lender_phone = _text("Phone", "May be left empty.")
    bureau_name = _text("Name", "Empty: no clearing house is named.")
    bureau_address = _text("Address", "May be left empty.")
    bureau_phone = _text("Phone", "May be left empty.")
    bureau_range = _text("Range of its scores", "In words, such as 1 to 10.")
    lease = _text(LABELS["lease"], "Such as 10 minutes.")
    hand_over_lease = _text(LABELS["hand_over_lease"], "Such as 4 hours.")
    decide_within = _text(LABELS["decide_within"], "Such as 2 days.")
    undo_seconds = _number("undo_seconds")
    offer_days = _number("offer_days")
    answer_days = _number("answer_days")
    rounds_of_questions = _number("rounds_of_questions")
    review_days = _number("review_days")
    law = forms.Field(
        label=LABELS["law"],
        required=False,
        widget=forms.Select(choices=[(law.value, words) for law, words in LAWS.items()]),
    )
    currency = _text(LABELS["currency"], "Three capital letters, or empty.")
    supervisor_name = _text("Supervisor: name", "Empty: none is named.")
    supervisor_address = _text("Supervisor: address")
    statement = _several_lines(LABELS["statement"], "May be left empty.", rows=4)

    def parts(self) -> list[tuple[str, str, list[forms.BoundField]]]:
        """Title, explanation and fields of each part, but for the tables."""
        fields = {name: self[name] for name in self.fields}
        return [
            ("Rules", "", [fields[name] for name in _RULES]),
            ("Lender", "", _whose("lender", fields)),
            ("Clearing house", "", _whose("bureau", fields)),
            (DESK, "", [fields[name] for name in _DESK]),
            (
                FOR_LATER,
                "Nothing goes by these yet: they are for offers, questions, reviews and notices.",
                [*(fields[name] for name in _LATER), *_whose("supervisor", fields)],
            ),
        ]


_RULES: Final = ("deny_up_to", "deny_unexplained", "approve_from", *AMOUNTS)
_DESK: Final = (*TIMES, "undo_seconds")
_LATER: Final = (*NUMBERS[3:], "law", "currency", "statement")


def _whose(whom: str, fields: Mapping[str, forms.BoundField]) -> list[forms.BoundField]:
    return [fields[f"{whom}_{each}"] for each in WHO[whom]]


class FactorRow(forms.Form):
    """A factor, or nothing if all of it is empty."""

    title = FACTORS
    explained = (
        "What has lowered a score, in words for the applicant. A code stays for ever, since "
        "decisions name it. Leave rows empty that you do not need."
    )

    code = _text("Code", spellcheck="false", autocapitalize="none")
    applicant = _text("For the applicant")
    active = forms.BooleanField(label="Can be given", required=False, initial=True)


class ReasonRow(FactorRow):
    """A reason, likewise."""

    title = REASONS
    explained = (
        "What an underwriter may give. A code stays for ever, since decisions name it. The reason "
        "other is put into words each time. Leave rows empty that you do not need."
    )

    staff = _text("For the staff")

    field_order = ("code", "staff", "applicant", "active")


if TYPE_CHECKING:
    Rows = BaseFormSet[Any]
else:  # Django's own class takes no type parameter at run time.
    Rows = BaseFormSet


class _CodeRows(Rows):
    """Rows whose codes stay as they are, but for new ones."""

    def add_fields(self, form: Any, index: int | None) -> None:
        super().add_fields(form, index)
        if index is not None and index < self.initial_form_count():
            form.fields["code"].widget.attrs["readonly"] = True


ReasonRows: Final = formset_factory(
    ReasonRow, formset=_CodeRows, extra=_EXTRA_ROWS, max_num=MOST_CODES
)
FactorRows: Final = formset_factory(
    FactorRow, formset=_CodeRows, extra=_EXTRA_ROWS, max_num=MOST_CODES
)
