"""The pages that people read. Each shows one read model, and is then updated live.

Commands redirect to them with `?after=POSITION`. Then a page waits a moment until its read model
has reached that position, and says so if it has not.
"""

from __future__ import annotations

from http import HTTPStatus
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse
from django.middleware.csrf import get_token
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from lepret.common.htmx import HtmxRequest
from lepret.common.request_numbers import number_of
from lepret.staff.access import REFUSALS, underwriter_required
from lepret.staff.roles import is_lead
from readmodels.models import LoanRequest
from readmodels.pages.claims import Viewer
from readmodels.pages.event_history import HistoryGone, HistoryUnavailable, is_recorded
from readmodels.pages.next import ids_to_claim
from readmodels.pages.queue_filter import QueueFilter
from readmodels.pages.queue_page import FIRST_ROWS, LONGEST_PAGE, QueuePage
from readmodels.pages.request_page import context_of as context_of_request
from readmodels.pages.request_page import history_if_known
from readmodels.pages.status_page import context_of
from readmodels.pages.waiting import (
    KnownStatus,
    NotRecorded,
    is_level_with,
    position_in,
    status_now,
    status_when_known,
)
from readmodels.projections import loan_requests, underwriters_queue


@never_cache
@underwriter_required
@require_safe
def underwriting(request: HtmxRequest) -> HttpResponse:
    """The requests that wait for a decision, filtered and ordered; for htmx only the list."""
    is_level = is_level_with(underwriters_queue.PROJECTION, _after(request))
    viewer = _viewer(request)
    chosen = QueueFilter(request.GET)
    csrf_token = get_token(request)
    queue = QueuePage.read()
    most = LONGEST_PAGE if request.htmx or "all" in request.GET else FIRST_ROWS
    context = queue.context(viewer, csrf_token=csrf_token, wish=chosen.wish, most=most) | {
        "digest": queue.digest,
        "filter": chosen,
        "is_late": not is_level,
        "refusals": REFUSALS,
    }
    template = "readmodels/_queue.html" if request.htmx else "readmodels/underwriting.html"
    return render(request, template, context)


@never_cache
@underwriter_required
@require_safe
def request_page(request: HtmxRequest, loan_request_id: UUID) -> HttpResponse:
    """All that underwriters know of one request; for htmx only what may have changed."""
    is_level = is_level_with(loan_requests.PROJECTION, _after(request))
    loan = LoanRequest.objects.of(loan_request_id)
    if loan is None and not _is_recorded(loan_request_id):
        raise Http404("There is no loan request with this number.")
    viewer = _viewer(request)
    context = context_of_request(loan, history_if_known(loan_request_id), viewer) | {
        "loan_request_id": loan_request_id,
        "number": number_of(loan_request_id),
        "next_ids": _ids_of_others(loan_request_id, viewer),
        "is_late": not is_level,
        "refusals": REFUSALS,
    }
    template = "readmodels/_request_frame.html" if request.htmx else "readmodels/request.html"
    return render(request, template, context)


@never_cache
@require_safe
def status(request: HttpRequest, loan_request_id: UUID) -> HttpResponse:
    """The status of one request; *Received* if the read model does not have it yet."""
    after = _after(request)
    known = _known_status(loan_request_id, after)
    context = context_of(known.loan, is_gone=known.is_gone) | {
        "loan_request_id": loan_request_id,
        "number": number_of(loan_request_id),
        "is_late": after is not None and not known.is_up_to_date,
    }
    status = HTTPStatus.GONE if known.is_gone else HTTPStatus.OK
    response = render(request, "readmodels/loan_status.html", context, status=status)
    # Whoever has the address can see the page.
    response["X-Robots-Tag"] = "noindex, nofollow, noarchive"
    return response


def _ids_of_others(loan_request_id: UUID, viewer: Viewer) -> list[UUID]:
    """The ids of what the viewer could take as the next, after this one."""
    ids = ids_to_claim(viewer.username, is_lead=viewer.is_lead, now=timezone.now())
    return [each for each in ids if each != loan_request_id]


def _is_recorded(loan_request_id: UUID) -> bool:
    try:
        return is_recorded(loan_request_id)
    except HistoryUnavailable:
        # As on the applicant's page.
        return True
    except HistoryGone:
        return False


def _viewer(request: HtmxRequest) -> Viewer:
    return Viewer(request.user.get_username(), is_lead=is_lead(request.user))


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
