"""A version of the lending policy that somebody proposes in a form, begun from another version.

The command validates; the form shows the errors at the fields.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pydantic
from django.forms import Form
from django.http import QueryDict
from django.utils import timezone

from lepret.common.moments import local_moment_in
from loans.application.policy_files import describe_field
from loans.domain.lending_policy import POLICY_ID, PublishPolicy
from loans.domain.policy import Policy, PolicyInForce
from loans.web.amounts import amount_in, what_is_wrong_with
from loans.web.policy_forms import (
    AMOUNTS,
    NUMBERS,
    TIMES,
    WHO,
    FactorRows,
    PolicyForm,
    ReasonRows,
    Rows,
)
from loans.web.policy_in_words import time_in, time_in_words


class Proposal:
    """The whole form. Once it `is_valid`, it has the `command`."""

    command: PublishPolicy

    def __init__(self, form: PolicyForm, reasons: Rows, factors: Rows) -> None:
        self.form = form
        self.tables = {"reasons": reasons, "factors": factors}

    @classmethod
    def begun_from(cls, base: PolicyInForce, *, seen: int) -> Proposal:
        """The form with what `base` says, after `seen` versions."""
        policy = base.policy
        rows = {
            name: [
                {"code": code, **each.model_dump()} for code, each in getattr(policy, name).items()
            ]
            for name in ("reasons", "factors")
        }
        return cls(
            PolicyForm(initial={**_typed(policy), "seen": seen}),
            ReasonRows(prefix="reasons", initial=rows["reasons"]),
            FactorRows(prefix="factors", initial=rows["factors"]),
        )

    @classmethod
    def sent(cls, data: QueryDict) -> Proposal:
        """The form as it was sent."""
        return cls(
            PolicyForm(data), ReasonRows(data, prefix="reasons"), FactorRows(data, prefix="factors")
        )

    @property
    def seen(self) -> int | None:
        """How many versions there were when the form was opened; `None` if it does not say."""
        return self.form.cleaned_data.get("seen")

    def see(self, count: int) -> None:
        """Somebody has been shown now that there are so many versions."""
        self.form.data = dict(self.form.data.items()) | {"seen": str(count)}

    @property
    def has_errors(self) -> bool:
        """Whether something is wrong with what was sent."""
        if not self.form.is_bound:
            return False
        return bool(
            self.form.errors or any(rows.total_error_count() for rows in self.tables.values())
        )

    def is_valid(self, *, by: str) -> bool:
        """Whether it makes a command of the user `by`. If not, the fields say why."""
        is_whole = self.form.is_valid() & all(rows.is_valid() for rows in self.tables.values())
        return is_whole and not self._has_doubles() and self._is_command(by)

    def _is_command(self, by: str) -> bool:
        typed, now = self.form.cleaned_data, timezone.now()
        at = local_moment_in(typed["effective_at"] or "")
        if typed["effective_at"] and at is None:
            self.form.add_error("effective_at", "Write a date and a time, or nothing.")
            return False
        try:
            self.command = PublishPolicy.model_validate(
                {
                    "id": POLICY_ID,
                    "issued_at": now,
                    "by": by,
                    "why": typed["why"] or "",
                    "effective_at": at or now,
                    "policy": self._policy(),
                },
            )
        except pydantic.ValidationError as invalid:
            for error in invalid.errors():
                self._show(error["loc"], error)
            return False
        return True

    def _policy(self) -> dict[str, Any]:
        typed = {name: value or "" for name, value in self.form.cleaned_data.items()}
        return {
            **{name: _whole_number(typed[name]) for name in NUMBERS},
            **{name: amount_in(typed[name]) if typed[name] else None for name in AMOUNTS},
            **{name: time_in(typed[name]) for name in TIMES},
            **{name: typed[name] for name in ("law", "currency", "statement")},
            **{whom: _somebody(whom, typed) for whom in WHO},
            "deny_unexplained": bool(typed["deny_unexplained"]),
            **{name: dict(_rows(rows)) for name, rows in self.tables.items()},
        }

    def _has_doubles(self) -> bool:
        codes: set[str] = set()
        for row in (row for rows in self.tables.values() for row in rows):
            code = _code_in(row)
            if code and code in codes:
                row.add_error("code", "This code is there twice.")
                return True
            codes.add(code)
        return False

    def _show(self, location: tuple[int | str, ...], error: Mapping[str, Any]) -> None:
        match location:
            case ("policy", ("reasons" | "factors") as table, code, *rest):
                self._show_in_row(str(table), str(code), "".join(map(str, rest)), error)
            case ("policy", whom, str(name)) if whom in WHO:
                self._show_at(f"{whom}_{name}", describe_field(error))
            case ("policy", str(name), *_) | (str(name), *_):
                self._show_at(name, self._words(name, error))

    def _words(self, name: str, error: Mapping[str, Any]) -> str:
        if name in AMOUNTS and error["type"] == "amount_format":
            return what_is_wrong_with(self.form.cleaned_data[name])
        if name in TIMES and error["type"].startswith("time_delta"):
            return "Write a time such as 10 minutes, 4 hours or 2 days."
        return describe_field(error)

    def _show_at(self, name: str, words: str) -> None:
        if name not in self.form.errors:
            self.form.add_error(name if name in self.form.fields else None, words)

    def _show_in_row(self, table: str, code: str, name: str, error: Mapping[str, Any]) -> None:
        for row in self.tables[table]:
            if _words_in(row) is not None and _code_in(row) == code:
                row.add_error(name if name in row.fields else "code", describe_field(error))

    def refuse(self, words: str, *, at: str | None = None) -> None:
        """Say why the command was refused, at a field or above the form."""
        self.form.add_error(at, words)


def _typed(policy: Policy) -> dict[str, Any]:
    """The policy as the form has it."""
    fields = policy.model_dump(exclude={"reasons", "factors", *WHO})
    people = {
        f"{whom}_{name}": value
        for whom in WHO
        if (somebody := getattr(policy, whom)) is not None
        for name, value in somebody
    }
    times = {name: time_in_words(getattr(policy, name)) for name in TIMES}
    amounts = {name: f"{value:,}" for name in AMOUNTS if (value := getattr(policy, name))}
    return {**fields, **people, **times, **amounts, "law": policy.law.value}


def _somebody(whom: str, typed: Mapping[str, Any]) -> dict[str, str] | None:
    fields = {name: typed[f"{whom}_{name}"] for name in WHO[whom]}
    return fields if any(value.strip() for value in fields.values()) else None


def _rows(rows: Rows) -> list[tuple[str, dict[str, Any]]]:
    """The codes, each with what is said of it; rows in which nothing is written are left out."""
    return [
        (_code_in(row), {**words, "active": row.cleaned_data["active"]})
        for row in rows
        if (words := _words_in(row)) is not None
    ]


def _code_in(row: Form) -> str:
    return (row.cleaned_data.get("code") or "").strip()


def _words_in(row: Form) -> dict[str, str] | None:
    """What is written beside the code; `None` if the row is empty."""
    typed = {name: row.cleaned_data.get(name) or "" for name in row.fields if name != "active"}
    if not any(value.strip() for value in typed.values()):
        return None
    del typed["code"]
    return typed


def _whole_number(typed: str) -> int | str:
    return int(typed) if re.fullmatch(" *[0-9]{1,9} *", typed) else typed
