"""The pages that people read. Each shows one read model, and is then updated live.

Commands redirect to them with `?after=POSITION`. Then a page waits a moment until its read model
has reached that position, and says so if it has not.
"""

from __future__ import annotations

from http import HTTPStatus
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from lepret.common.htmx import HtmxRequest
from lepret.common.request_numbers import number_of
from lepret.staff.access import REFUSALS, underwriter_required
from readmodels.pages.event_history import HistoryUnavailable
from readmodels.pages.queue_page import QueuePage
from readmodels.pages.waiting import (
    KnownStatus,
    NotRecorded,
    is_level_with,
    position_in,
    status_now,
    status_when_known,
)
from readmodels.projections import underwriters_queue


@never_cache
@underwriter_required
@require_safe
def underwriting(request: HtmxRequest) -> HttpResponse:
    """The requests that wait for a decision, oldest first; for htmx only the list."""
    is_level = is_level_with(underwriters_queue.PROJECTION, _after(request))
    context = QueuePage.read().context() | {"is_late": not is_level, "refusals": REFUSALS}
    template = "readmodels/_queue.html" if request.htmx else "readmodels/underwriting.html"
    return render(request, template, context)


@never_cache
@require_safe
def status(request: HttpRequest, loan_request_id: UUID) -> HttpResponse:
    """The status of one request; *Received* if the read model does not have it yet."""
    after = _after(request)
    known = _known_status(loan_request_id, after)
    context = {
        "loan": known.loan,
        "loan_request_id": loan_request_id,
        "number": number_of(loan_request_id),
        "is_late": after is not None and not known.is_up_to_date,
        "is_gone": known.is_gone,
    }
    status = HTTPStatus.GONE if known.is_gone else HTTPStatus.OK
    response = render(request, "readmodels/loan_status.html", context, status=status)
    # Whoever has the address can see the page.
    response["X-Robots-Tag"] = "noindex, nofollow, noarchive"
    return response


def _after(request: HttpRequest) -> int | None:
    return position_in(request.GET.get("after", ""))


def _known_status(loan_request_id: UUID, after: int | None) -> KnownStatus:
    try:
        if after is None:
            return status_now(loan_request_id)
        return status_when_known(loan_request_id, after=after)
    except NotRecorded:
        raise Http404("There is no loan request with this number.") from None
    except HistoryUnavailable:
        # The page corrects itself when the store is back. A 404 would be final to an applicant.
        return KnownStatus(None, is_up_to_date=False)
