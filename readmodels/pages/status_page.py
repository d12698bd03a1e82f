"""What an applicant's page shows of the loan request."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from django.template.loader import render_to_string

from readmodels.models import LoanStatus


@dataclass(frozen=True)
class StatusPage:
    """How one request stands, as HTML."""

    html: str

    @classmethod
    def read(cls, loan_request_id: UUID) -> StatusPage:
        """The page as it should be now: one query."""
        loan = LoanStatus.objects.of(loan_request_id)
        return cls(render_to_string("readmodels/_loan_status.html", {"loan": loan}))

    def changes_since(self, before: StatusPage | None) -> str:
        """The fragment that turns `before` into this page, which is all of it."""
        return "" if before == self else self.html
