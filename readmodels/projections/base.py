"""What every projection is made of."""

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

    `handle` says what an event changes in the rows of `model`. It is given the types of events that
    its parameter `event` names, and the others are passed over. `group` names the channel-layer
    group that wants to hear of changes to a loan request. A change of `handle` that would make
    other rows of old events takes a new `version`: the rows are then built anew beside those that
    are there, and take their place when ready.

    Where `model` is an `OfOneRequest`, its rows' `revision` is kept without `handle`.
    """

    name: str
    version: int
    model: type[Model]
    handle: Callable[[Any, Rows[Any]], None]
    group: Callable[[UUID], str] | None = None

    @cached_property
    def takes(self) -> frozenset[str]:
        """The names of the types of events that `handle` is given."""
        named = get_type_hints(self.handle)["event"]
        return frozenset(each.__name__ for each in get_args(named) or [named])

    @property
    def keeps_revisions(self) -> bool:
        """Whether each row tells of one loan request, and which revision of it that is."""
        return issubclass(self.model, OfOneRequest)
