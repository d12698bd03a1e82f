"""The pages that people read. Each shows one read model, and then keeps level with it live."""

from __future__ import annotations

from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from lepret.roles import underwriter_required
from readmodels.event_history import HistoryUnavailable, is_recorded
from readmodels.models import LoanStatus
from readmodels.queue_page import QueuePage


@never_cache
@underwriter_required
@require_safe
def underwriting(request: HttpRequest) -> HttpResponse:
    """The requests that wait for a decision, oldest first."""
    return render(request, "readmodels/underwriting.html", QueuePage.read().context())


@never_cache
@require_safe
def status(request: HttpRequest, loan_request_id: UUID) -> HttpResponse:
    """How one request stands; *Received* where the read model is a moment behind."""
    loan = LoanStatus.objects.of(loan_request_id)
    if loan is None and not _is_recorded(loan_request_id):
        raise Http404("There is no loan request with this number.")
    context = {"loan": loan, "loan_request_id": loan_request_id}
    response = render(request, "readmodels/loan_status.html", context)
    response["X-Robots-Tag"] = "noindex"
    return response


def _is_recorded(loan_request_id: UUID) -> bool:
    try:
        return is_recorded(loan_request_id)
    except HistoryUnavailable:
        # The page corrects itself when the store is back; a 404 would send the applicant away.
        return True
