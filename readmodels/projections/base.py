"""What every projection is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from django.db import router, transaction
from django.db.models import Model

from loans.domain.events import LoanEvent
from readmodels.models import Checkpoint


@dataclass(frozen=True)
class Projection:
    """A read model and how events change it.

    `handle` changes rows for one event and says whether it did; `group` names the channel-layer
    group that wants to hear of changes to a loan request.
    """

    name: str
    models: tuple[type[Model], ...]
    handle: Callable[[LoanEvent], bool]
    group: Callable[[UUID], str] | None = None

    def reset(self) -> None:
        """Empty the tables and go back to the beginning, in one transaction."""
        with transaction.atomic(using=router.db_for_write(Checkpoint)):
            checkpoint, _ = Checkpoint.objects.select_for_update().get_or_create(name=self.name)
            for model in self.models:
                model._default_manager.all().delete()
            checkpoint.position, checkpoint.recorded_at = 0, None
            checkpoint.save()
