"""The loan request as its applicant's page shows it."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from django.template.loader import render_to_string

from readmodels.models import LoanStatus


@dataclass(frozen=True)
class StatusPage:
    """The status of one request, as HTML."""

    html: str

    @classmethod
    def read(cls, loan_request_id: UUID) -> StatusPage:
        """The page as it is now: one query."""
        loan = LoanStatus.objects.of(loan_request_id)
        return cls(
            render_to_string(
                "readmodels/_loan_status.html", {"loan": loan, "is_gone": loan and loan.gone_at}
            )
        )

    def changes_since(self, before: StatusPage | None) -> str:
        """The fragment that turns `before` into this page, which is all of it."""
        return "" if before == self else self.html
