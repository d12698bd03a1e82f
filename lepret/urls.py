"""All URLs. Here the write side (`loans`) and the read side (`readmodels`) come together."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

from lepret.api.failures import server_error
from lepret.api.openapi import DESCRIPTION, TAGS, DocumentedApi
from lepret.api.problems import answer_with_problems, page_not_found
from lepret.api.refusals import nothing_here
from lepret.api.throttling import throttles
from lepret.common import health
from lepret.common.privacy import privacy
from lepret.staff import own_sessions, pages, passwords, second_factor_pages
from lepret.staff.access import permission_denied
from lepret.staff.login import StaffLoginView, StaffLogoutView
from lepret.staff.passwords import StaffPasswordChangeView
from lepret.staff.provider_sign_in import FromProvider, ToProvider
from loans.web import api as commands
from loans.web import claims_api, policy_api
from loans.web.national_ids import national_id_in
from loans.web.problems import PROBLEMS
from readmodels.monitoring import metrics, readiness
from readmodels.pages import api as queries
from readmodels.pages.find_page import find
from readmodels.pages.next import ids_to_claim

api = DocumentedApi(
    title="lepret",
    version="1",
    description=DESCRIPTION,
    urls_namespace="api",
    throttle=throttles(),
    openapi_extra={"tags": TAGS},
)
api.add_router("", commands.router)
api.add_router("", claims_api.router)
api.add_router("", claims_api.router_of_next(ids_to_claim))
api.add_router("", policy_api.router)
api.add_router("", queries.router)
answer_with_problems(api, PROBLEMS, queries.PROBLEMS)

urlpatterns = [
    # First, since they are tried in turn, and it has the most calls.
    path("api/", api.urls),
    path("api", nothing_here),
    path("", include("loans.urls")),
    path("", include("readmodels.urls")),
    path("find/", find(national_id_in), name="find"),
    path("privacy/", privacy, name="privacy"),
    # Before admin's own, to which its pages link.
    path("admin/login/", StaffLoginView.as_view(for_admin=True)),
    path("admin/logout/", StaffLogoutView.as_view()),
    path("admin/password_change/", StaffPasswordChangeView.as_view()),
    path("admin/", admin.site.urls),
    path("accounts/", pages.account, name="account"),
    path("accounts/login/", StaffLoginView.as_view(), name="login"),
    path("accounts/logout/", StaffLogoutView.as_view(), name="logout"),
    path("accounts/password/", StaffPasswordChangeView.as_view(), name="password"),
    path("accounts/password/changed/", passwords.password_changed, name="password-changed"),
    path("accounts/login/code/", second_factor_pages.ask_for_code, name="second-factor-code"),
    path("accounts/second-factor/", second_factor_pages.second_factor_page, name="second-factor"),
    path("accounts/sessions/", own_sessions.own_sessions, name="sessions"),
    path("accounts/provider/", ToProvider.as_view(), name="to-provider"),
    path("accounts/provider/callback/", FromProvider.as_view(), name="from-provider"),
    path("accounts/home/", pages.home_of_role, name="home-of-role"),
    path("healthz", health.alive, name="healthz"),
    path("readyz", health.readiness({"projections": readiness.projections}), name="readyz"),
    path("metrics", metrics.metrics, name="metrics"),
]

handler403 = permission_denied
handler404 = page_not_found
handler500 = server_error
