"""Admin pages on which superusers look at the API's tokens, and revoke them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from lepret.api import tokens
from lepret.models import ApiToken

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[ApiToken]
else:  # Django's own class takes no type parameter when it runs.
    ModelAdmin = admin.ModelAdmin


@admin.action(description="Revoke the selected tokens", permissions=["view"])
def revoke(model_admin: ApiTokenAdmin, request: HttpRequest, queryset: QuerySet[ApiToken]) -> None:
    for token in queryset:
        tokens.revoke(token)
    model_admin.message_user(request, "Revoked.", messages.SUCCESS)


@admin.register(ApiToken)
class ApiTokenAdmin(ModelAdmin):
    """Read-only except for revoking. Tokens are made by `manage.py api_token`."""

    list_display = (
        "name",
        "user",
        "in_scopes",
        "state",
        "created_at",
        "expires_at",
        "last_used_at",
    )
    fields = (*list_display, "revoked_at")
    search_fields = ("name", "user__username")
    list_select_related = ("user",)
    ordering = ("-created_at",)
    actions = (revoke,)

    @admin.display(description="Scopes")
    def in_scopes(self, token: ApiToken) -> str:
        return " ".join(token.scopes)

    @admin.display(description="State")
    def state(self, token: ApiToken) -> str:
        return token.state(timezone.now())

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.is_active and request.user.is_superuser

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
