"""What the credit bureau was asked, and what it answered."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from loans.adapters.credit_bureau import simulated_score

MOST_KEYS: Final = 100_000


class OtherPerson(Exception):
    """The key was used to ask about somebody else."""


@dataclass
class _Entry:
    asked: int = 0
    answered: int = 0
    national_id: str | None = field(default=None, repr=False)


class Book:
    """Asks and answers by key. The keys that nobody has asked with for longest are forgotten.

    A key is used up by an answer, not by an ask: what came to nothing may be asked about anyone.
    """

    def __init__(self, *, most_keys: int = MOST_KEYS) -> None:
        self._most_keys = most_keys
        self._entries: OrderedDict[UUID, _Entry] = OrderedDict()
        self._lock = threading.Lock()

    def ask(self, key: UUID, national_id: str) -> int:
        """Note an ask. Returns how many there were with this key before.

        Raises:
            OtherPerson: so nothing is noted.
        """
        with self._lock:
            entry = self._entry(key, national_id)
            entry.asked += 1
            return entry.asked - 1

    def answer(self, key: UUID, national_id: str) -> int:
        """Note that an ask is answered. Returns the score.

        Raises:
            OtherPerson: an ask at the same time was quicker.
        """
        with self._lock:
            entry = self._entry(key, national_id)
            entry.national_id = national_id
            entry.answered += 1
        return simulated_score(national_id, key)

    def summary(self) -> dict[str, Any]:
        """How often it was asked and gave a score, in all and by key."""
        with self._lock:
            by_key = {
                str(key): {"asked": entry.asked, "answered": entry.answered}
                for key, entry in self._entries.items()
            }
        asked, answered = (
            sum(each[count] for each in by_key.values()) for count in ("asked", "answered")
        )
        return {"asked": asked, "answered": answered, "by_key": by_key}

    def _entry(self, key: UUID, national_id: str) -> _Entry:
        entry = self._entries.setdefault(key, _Entry())
        if entry.national_id not in (None, national_id):
            raise OtherPerson
        self._entries.move_to_end(key)
        if len(self._entries) > self._most_keys:
            self._entries.popitem(last=False)
        return entry
