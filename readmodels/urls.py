"""Where people look."""

from __future__ import annotations

from typing import Any, cast

from django.urls import path

from readmodels.pages import consumers, views

app_name = "readmodels"

urlpatterns = [
    path("loans/<uuid:loan_request_id>/", views.status, name="status"),
    path("underwriting/", views.underwriting, name="underwriting"),
]

# Django's `path` takes ASGI applications at run time; its types know views only.
websocket_urlpatterns: list[Any] = [
    path("ws/loans/<uuid:loan_request_id>/", cast(Any, consumers.LoanStatusConsumer.as_asgi())),
    path("ws/underwriting/", cast(Any, consumers.UnderwritingConsumer.as_asgi())),
]
