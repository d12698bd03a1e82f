"""The projections, one module per read model. A new one needs a module and an entry here."""

from __future__ import annotations

from readmodels.projections import (
    lending_policies,
    loan_requests,
    loan_status,
    parked_credit_checks,
    search_words,
    underwriters_queue,
)
from readmodels.projections.base import Projection

PROJECTIONS: dict[str, Projection] = {
    module.PROJECTION.name: module.PROJECTION
    for module in (
        underwriters_queue,
        loan_status,
        loan_requests,
        parked_credit_checks,
        search_words,
        lending_policies,
    )
}

__all__ = ["PROJECTIONS", "Projection"]
