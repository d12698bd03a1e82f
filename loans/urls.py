"""The URLs of the pages that send commands."""

from __future__ import annotations

from django.urls import path

from loans.web import views

app_name = "loans"

urlpatterns = [
    path("", views.apply, name="apply"),
    path("validate/", views.validate, name="validate"),
    path("underwriting/<uuid:loan_request_id>/approve/", views.approve, name="approve"),
    path("underwriting/<uuid:loan_request_id>/deny/", views.deny, name="deny"),
]
