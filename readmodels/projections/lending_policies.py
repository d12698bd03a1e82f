"""The versions of the lending policy, for the words of reasons and for explanations."""

from __future__ import annotations

from typing import assert_never

from loans.domain.events import PolicyConfirmed, PolicyEvent, PolicyProposed, PolicyWithdrawn
from readmodels.models import LendingPolicy
from readmodels.projections.base import Projection
from readmodels.projections.rows import Rows


def handle(event: PolicyEvent, rows: Rows[LendingPolicy]) -> None:
    match event:
        case PolicyProposed():
            rows.put(
                event.version,
                policy=event.policy.model_dump(mode="json"),
                proposed_by=event.by,
                proposed_at=event.occurred_at,
                why=event.why,
                effective_at=event.effective_at,
            )
        case PolicyConfirmed():
            rows.change(event.version, confirmed_by=event.by, confirmed_at=event.occurred_at)
        case PolicyWithdrawn():
            rows.change(event.version, withdrawn_by=event.by, withdrawn_at=event.occurred_at)
        case _:
            assert_never(event)


PROJECTION = Projection(name="lending_policies", version=1, model=LendingPolicy, handle=handle)
