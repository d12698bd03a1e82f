"""Publishes version 1 of the demo's lending policy, which has everything on."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from django.core.management import call_command

FILE: Final = Path(__file__).with_name("policy.json")
_WHY: Final = "The demo's policy: two people approve what is large."


def publish() -> None:
    """Propose and confirm it, unless there is a version already. Idempotent.

    Raises:
        CommandError: the event store is away.
    """
    call_command("policy", "publish", str(FILE), "--first", "--by", "policy", "--why", _WHY)
    # Also when the demo was stopped between the two.
    call_command("policy", "confirm", "1", "--by", "policy-second")
