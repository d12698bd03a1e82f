"""The URLs of the pages that send commands, and of the lending policy's, before admin's own."""

from __future__ import annotations

from django.urls import path

from loans.web import claims, decisions, policy_pages, policy_simulations, views

app_name = "loans"

urlpatterns = [
    path("", views.apply, name="apply"),
    path("validate/", views.validate, name="validate"),
    path("underwriting/<uuid:loan_request_id>/approve/", decisions.approve, name="approve"),
    path("underwriting/<uuid:loan_request_id>/deny/", decisions.deny, name="deny"),
    path("underwriting/<uuid:loan_request_id>/notes/", decisions.add_note, name="add-note"),
    path("underwriting/<uuid:loan_request_id>/claim/", claims.claim, name="claim"),
    path("underwriting/<uuid:loan_request_id>/release/", claims.release, name="release"),
    path("underwriting/<uuid:loan_request_id>/hand-over/", claims.hand_over, name="hand-over"),
    path("underwriting/<uuid:loan_request_id>/escalate/", claims.escalate, name="escalate"),
    path("underwriting/next/", claims.take_next, name="next"),
    path("admin/policy/", policy_pages.overview, name="policy"),
    path("admin/policy/propose/", policy_pages.propose, name="policy-propose"),
    path("admin/policy/<int:number>/", policy_pages.version, name="policy-version"),
    path("admin/policy/<int:number>/confirm/", policy_pages.confirm, name="policy-confirm"),
    path("admin/policy/<int:number>/withdraw/", policy_pages.withdraw, name="policy-withdraw"),
    path("admin/policy/simulations/", policy_simulations.simulations, name="simulations"),
    path(
        "admin/policy/simulations/<uuid:run_id>/",
        policy_simulations.simulation,
        name="simulation",
    ),
]
