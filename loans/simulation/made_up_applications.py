"""Loan applications of people who do not exist, for demonstrations and load tests."""

from __future__ import annotations

import random
import string
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final
from uuid import UUID

_FIRST_NAMES: Final = (
    *("Amélie", "Bruno", "Chiara", "Dmitri", "Elif", "Femke", "Goran", "Hanna", "Ines", "João"),
    *("Katarzyna", "Lars", "Mireille", "Nils", "Oksana", "Pavel", "Quirin", "Rania", "Søren"),
    *("Thandiwe", "Uwe", "Vera", "Wim", "Ximena", "Yusuf", "Zoë"),
)
_LAST_NAMES: Final = (
    *("Almeida", "Berger", "Castro", "Dupont", "Eriksen", "Fournier", "García", "Horváth"),
    *("Ionescu", "Jansen", "Kowalska", "Lindqvist", "Moreau", "Nowak", "O'Brien", "Papadakis"),
    *("Quist", "Rossi", "Schäfer", "Tanaka", "Ünal", "Visser", "Weber", "Yavuz", "Zimmermann"),
)
_STREETS: Final = ("Church Lane", "Harbour Street", "Mill Road", "Orchard Way", "Station Square")
_TOWNS: Final = ("Alderbrook", "Fenwick Bay", "Larkhill", "Northam", "Westerby")


@dataclass(frozen=True, kw_only=True)
class MadeUpApplication:
    """One request to `POST /api/loan-requests`."""

    id: UUID
    name: str
    national_id: str
    amount: int
    address: str

    def as_json(self) -> dict[str, Any]:
        """The body of the request."""
        return asdict(self) | {"id": str(self.id)}


def made_up_applications(seed: int | None = None) -> Iterator[MadeUpApplication]:
    """Yield applications without end. The same seed gives the same ones, ids included.

    No two have the same national ID, since a person may have only one open request.
    """
    chance = random.Random(seed)  # noqa: S311
    taken: set[str] = set()
    while True:
        yield MadeUpApplication(
            id=UUID(int=chance.getrandbits(128), version=4),
            name=f"{chance.choice(_FIRST_NAMES)} {chance.choice(_LAST_NAMES)}",
            national_id=_national_id(chance, taken),
            amount=chance.randrange(5, 1000) * 100,
            address=_address(chance),
        )


def _national_id(chance: random.Random, taken: set[str]) -> str:
    while True:
        letters = "".join(chance.choices(string.ascii_lowercase, k=2))
        national_id = f"{chance.randrange(1_000_000):06}{letters}"
        if national_id not in taken:
            taken.add(national_id)
            return national_id


def _address(chance: random.Random) -> str:
    """An address; a third of them are empty, since it is optional."""
    if chance.random() < 1 / 3:
        return ""
    return f"{chance.randrange(1, 200)} {chance.choice(_STREETS)}, {chance.choice(_TOWNS)}"
