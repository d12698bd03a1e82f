"""What is asked, by the names that `manage.py doctor` has for it."""

from __future__ import annotations

from functools import partial
from typing import Final

from django.db import DEFAULT_DB_ALIAS, connections

from lepret.doctor import clocks, credit_bureau, databases, event_store, valkey
from lepret.doctor.report import Check

EVENT_STORE: Final = "event_store"


def checks(*, appends: bool = True) -> dict[str, Check]:
    """The check of each service that is configured; with `appends`, events are appended, too."""
    return {
        EVENT_STORE: event_store.reads_and_appends if appends else event_store.reads,
        **{
            _name(alias): partial(databases.answers_and_can_be_written, alias)
            for alias in connections
        },
        "migrations": partial(databases.migrations_are_applied, list(connections)),
        "valkey": valkey.passes_messages_and_counts,
        "credit_bureau": credit_bureau.can_be_reached,
        "clock": clocks.agree,
    }


def _name(alias: str) -> str:
    return "database" if alias == DEFAULT_DB_ALIAS else f"{alias}_database"
