"""The addresses of the pages, and of the websockets that update them."""

from __future__ import annotations

from typing import Any, cast

from django.urls import path

from readmodels.pages import consumers, views

app_name = "readmodels"

urlpatterns = [
    path("loans/<uuid:loan_request_id>/", views.status, name="status"),
    path("underwriting/", views.underwriting, name="underwriting"),
    path("underwriting/<uuid:loan_request_id>/", views.request_page, name="request"),
]


def websocket_routes(**options: Any) -> list[Any]:
    """The live pages' websockets; the options are those of `consumers.LivePage`."""
    status = consumers.LoanStatusConsumer.as_asgi(**options)
    underwriting = consumers.UnderwritingConsumer.as_asgi(**options)
    request = consumers.RequestConsumer.as_asgi(**options)
    # Django's `path` takes ASGI applications at run time; its types know views only.
    return [
        path("ws/loans/<uuid:loan_request_id>/", cast(Any, status)),
        path("ws/underwriting/", cast(Any, underwriting)),
        path("ws/underwriting/<uuid:loan_request_id>/", cast(Any, request)),
    ]


websocket_urlpatterns = websocket_routes()
