"""The loan request as its applicant's page shows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.template.loader import render_to_string

from readmodels.models import LoanStatus
from readmodels.pages.explaining import explanation_of, reasons_to_applicant


def context_of(loan: LoanStatus | None, *, is_gone: bool) -> dict[str, Any]:
    """For the templates; `None` if the read model does not have the request yet."""
    return {
        "loan": loan,
        "is_gone": is_gone,
        "reasons": reasons_to_applicant(loan) if loan else [],
        "explanation": explanation_of(loan) if loan else None,
    }


@dataclass(frozen=True)
class StatusPage:
    """The status of one request, as HTML."""

    html: str

    @classmethod
    def read(cls, loan_request_id: UUID) -> StatusPage:
        """The page as it is now: one query, and a second now and then for the policy."""
        loan = LoanStatus.objects.of(loan_request_id)
        is_gone = loan is not None and loan.gone_at is not None
        context = context_of(loan, is_gone=is_gone)
        return cls(render_to_string("readmodels/_loan_status.html", context))

    def changes_since(self, before: StatusPage | None) -> str:
        """The fragment that turns `before` into this page, which is all of it."""
        return "" if before == self else self.html
