"""The lending policy as people read it: what a version says, what it changes, how it stands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from lepret.common.formats import moment, money
from loans.domain.credit_report import BEST_SCORE, WORST_SCORE
from loans.domain.lending_policy import Version, Versions, in_force
from loans.domain.policy import Bureau, Law, Lender, Policy, Supervisor

LABELS: Final = {
    "deny_up_to": "Denied at once up to a score of",
    "approve_from": "Approved at once from a score of",
    "deny_unexplained": "Denied at once also if no factor explains the score",
    "automatic_up_to": "Approved at once up to an amount of",
    "four_eyes_above": "Two people to approve above an amount of",
    "lease": "An underwriter's claim holds for",
    "hand_over_lease": "A claim that was handed over holds for",
    "decide_within": "To be decided within",
    "undo_seconds": "Seconds to undo a decision",
    "offer_days": "Days that an offer holds",
    "answer_days": "Days to answer questions",
    "rounds_of_questions": "Rounds of questions",
    "review_days": "Days to ask for a review",
    "law": "Notices follow the law of",
    "currency": "Currency of the notices",
    "statement": "Prescribed statement",
}
LAWS: Final = {Law.US: "the United States", Law.EU: "the European Union", Law.BOTH: "both"}
NOTHING: Final = "-"
REASONS: Final = "Reasons for a denial by people"
FACTORS: Final = "Factors of a score, by the clearing house"
DESK: Final = "The underwriters' desk"
FOR_LATER: Final = "For later"

_UNITS: Final = (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1))


@dataclass(frozen=True)
class Part:
    """A part of a policy, as a table: each row begins with what it is about."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    @property
    def has_headings(self) -> bool:
        """Whether its columns have names."""
        return any(self.columns)

    @property
    def cells(self) -> list[list[tuple[str, str]]]:
        """The rows, each value with its column's name."""
        return [list(zip(self.columns, row, strict=True)) for row in self.rows]

    @property
    def is_for_later(self) -> bool:
        """Whether nothing goes by it yet."""
        return self.title == FOR_LATER


@dataclass(frozen=True)
class Change:
    """What is different between two policies. A dash stands for what one of them has not."""

    part: str
    what: str
    old: str
    new: str


def parts(policy: Policy) -> list[Part]:
    """All of a policy, in the order in which one reads it."""
    return [
        Part("Rules", ("", ""), tuple(_rules(policy))),
        Part(
            REASONS,
            ("Code", "For the staff", "For the applicant", "Can be given"),
            tuple(
                (code, each.staff, each.applicant, _yes_or_no(is_true=each.active))
                for code, each in policy.reasons.items()
            ),
        ),
        Part(
            FACTORS,
            ("Code", "For the applicant", "Can be given"),
            tuple(
                (code, each.applicant, _yes_or_no(is_true=each.active))
                for code, each in policy.factors.items()
            ),
        ),
        Part("Lender", ("", ""), _of(policy.lender)),
        Part("Clearing house", ("", ""), _of(policy.bureau)),
        Part(DESK, ("", ""), tuple(_desk(policy))),
        Part(FOR_LATER, ("", ""), tuple(_for_later(policy))),
    ]


def changes(old: Policy, new: Policy) -> list[Change]:
    """What is different in `new`; nothing else is."""
    before, after = dict(_cells(old)), dict(_cells(new))
    return [
        Change(*place, before.get(place, NOTHING), after.get(place, NOTHING))
        for place in dict.fromkeys([*before, *after])
        if before.get(place) != after.get(place)
    ]


def state_of(version: Version, versions: Versions, now: datetime) -> str:
    """How a version stands, in a few words."""
    if version.withdrawn_by is not None:
        return "withdrawn"
    if version.in_force_from is None:
        return "waits for its confirmation"
    current = in_force(versions, now).version
    if current == version.number:
        return "in force"
    return "replaced" if current > version.number else f"from {moment(version.in_force_from)} on"


def about(version: Version) -> str:
    """Who has done what with a version, and what comes next, in a sentence or two."""
    if version.withdrawn_by is not None:
        return f"Version {version.number} was withdrawn by {version.withdrawn_by}."
    if version.in_force_from is None:
        when = "at once" if version.is_at_once else f"from {moment(version.effective_at)} on"
        return (
            f"Version {version.number}, proposed by {version.proposed_by}, waits for somebody else "
            f"to confirm it. It is then in force {when}."
        )
    return (
        f"Version {version.number}, proposed by {version.proposed_by} and confirmed by "
        f"{version.confirmed_by}, is in force from {moment(version.in_force_from)} on. Everything "
        "follows it within ten seconds."
    )


def time_in_words(time: timedelta) -> str:
    """A time in the largest unit that it is a whole number of: `10 minutes`."""
    seconds = round(time.total_seconds())
    unit, size = next((unit, size) for unit, size in _UNITS if seconds % size == 0)
    count = seconds // size
    return f"{count} {unit}" if count == 1 else f"{count} {unit}s"


def time_in(typed: str) -> timedelta | str:
    """The time that was typed, as `time_in_words` writes it; other text unchanged."""
    found = re.fullmatch(r" *([0-9]{1,9}) *(day|hour|minute|second)s? *", typed.lower())
    return timedelta(seconds=int(found[1]) * dict(_UNITS)[found[2]]) if found else typed


def _rules(policy: Policy) -> Iterator[tuple[str, str]]:
    lowest, highest = policy.deny_up_to + 1, policy.approve_from - 1
    yield "Denied at once", _scores(WORST_SCORE, policy.deny_up_to)
    yield LABELS["deny_unexplained"], _yes_or_no(is_true=policy.deny_unexplained)
    yield "Looked at by an underwriter", _scores(lowest, highest)
    yield "Approved at once", _scores(policy.approve_from, BEST_SCORE)
    yield LABELS["automatic_up_to"], _amount(policy.automatic_up_to, otherwise="any amount")
    yield LABELS["four_eyes_above"], _amount(policy.four_eyes_above, otherwise="one is enough")


def _desk(policy: Policy) -> Iterator[tuple[str, str]]:
    for name in ("lease", "hand_over_lease", "decide_within"):
        yield LABELS[name], time_in_words(getattr(policy, name))
    yield LABELS["undo_seconds"], str(policy.undo_seconds)


def _for_later(policy: Policy) -> Iterator[tuple[str, str]]:
    for name in ("offer_days", "answer_days", "rounds_of_questions", "review_days"):
        yield LABELS[name], str(getattr(policy, name))
    yield LABELS["law"], LAWS[policy.law]
    yield LABELS["currency"], policy.currency or NOTHING
    for label, value in _of(policy.supervisor):
        yield f"Supervisor: {label.lower()}", value
    yield LABELS["statement"], policy.statement or NOTHING


def _of(whom: Lender | Supervisor | Bureau | None) -> tuple[tuple[str, str], ...]:
    if whom is None:
        return ()
    return tuple((name.capitalize(), value or NOTHING) for name, value in whom)


def _cells(policy: Policy) -> Iterator[tuple[tuple[str, str], str]]:
    for part in parts(policy):
        for about_what, *values in part.rows:
            for column, value in zip(part.columns[1:], values, strict=True):
                what = f"{about_what}: {column.lower()}" if column else about_what
                yield (part.title, what), value


def _scores(lowest: int, highest: int) -> str:
    if lowest > highest:
        return "no score"
    return f"a score of {lowest}" if lowest == highest else f"scores from {lowest} to {highest}"


def _amount(amount: int | None, *, otherwise: str) -> str:
    return otherwise if amount is None else money(amount)


def _yes_or_no(*, is_true: bool) -> str:
    return "yes" if is_true else "no"
