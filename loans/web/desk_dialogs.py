"""The forms that the desk shows in a dialog, or as a page of its own where there is no script."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from django.http import HttpResponse
from django.shortcuts import render, resolve_url
from django.utils import timezone
from django_htmx.http import retarget

from lepret.common.htmx import HtmxRequest
from loans.application import use_cases
from loans.dependencies import event_store
from loans.domain.loan_request import Rejection
from loans.web.applying import UNAVAILABLE
from loans.web.desk_answers import back_to, in_words, not_recorded, try_again
from loans.web.forms import CommandForm

_IN_DIALOG: Final = "desk-dialog-content"


@dataclass(frozen=True)
class Dialog:
    """A form about one request, which is sent to the address that has shown it.

    `verb` is what its button does, and `hint` what to know before.
    """

    id: str
    address: str
    verb: str
    hint: str = ""
    fields: str = "loans/_dialog_fields.html"


def ask(
    request: HtmxRequest,
    dialog: Dialog,
    form: CommandForm[Any],
    loan_request_id: UUID,
    *,
    status: int = 200,
) -> HttpResponse:
    """Show the form, if the request is under review, with what was typed and what is wrong."""
    leads_to = back_to(request, loan_request_id)
    try:
        # Whom it is about is read anew each time: nothing that the browser sends can say so.
        application = use_cases.under_review(
            loan_request_id, now=timezone.now(), event_store=event_store()
        )
    except Rejection as rejection:
        return not_recorded(request, in_words(rejection), status=409, leads_to=leads_to)
    except UNAVAILABLE as loss:
        return try_again(request, loss, leads_to=leads_to)
    context = {
        "dialog": dialog,
        "form": form,
        "loan_request_id": loan_request_id,
        "application": application,
        "leads_to": leads_to,
        "goes_back": leads_to != resolve_url("readmodels:underwriting"),
    }
    if not request.htmx:
        return render(request, "loans/desk_form.html", context, status=status)
    in_dialog = render(request, "loans/_desk_form.html", context, status=status)
    if request.htmx.target == _IN_DIALOG:
        # What a row has asked for that is gone by now, htmx cannot put elsewhere.
        return in_dialog
    return retarget(in_dialog, f"#{_IN_DIALOG}")
