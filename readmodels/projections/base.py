"""The definition of a projection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, get_args, get_type_hints
from uuid import UUID

from django.db.models import Model

from readmodels.models import OfOneRequest
from readmodels.projections.rows import Rows


@dataclass(frozen=True)
class Projection:
    """A read model and how events change it.

    `handle` changes the rows of `model` for one event. It is called with events of the types in the
    annotation of its parameter `event`; others are ignored. `group` returns the channel-layer group
    that is told of changes to a loan request. Raise `version` if `handle` would now make other rows
    from old events: the read model is then rebuilt, while pages read the old rows. One that `leads`
    is on the screens of many: others let it commit first what concerns it, too.

    If `model` is an `OfOneRequest`, the `revision` of its rows is maintained without `handle`.
    """

    name: str
    version: int
    model: type[Model]
    handle: Callable[[Any, Rows[Any]], None]
    group: Callable[[UUID], str] | None = None
    leads: bool = False

    @cached_property
    def takes(self) -> frozenset[str]:
        """The names of the types of events that `handle` is called with."""
        named = get_type_hints(self.handle)["event"]
        return frozenset(each.__name__ for each in get_args(named) or [named])

    @property
    def keeps_revisions(self) -> bool:
        """Whether each row belongs to one loan request and has its revision."""
        return issubclass(self.model, OfOneRequest)
