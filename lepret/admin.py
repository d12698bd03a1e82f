"""Admin pages for superusers: users, and the API's tokens, which they look at and revoke."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django_otp.plugins.otp_static.models import StaticDevice
from django_otp.plugins.otp_totp.models import TOTPDevice

from lepret.api import tokens
from lepret.models import ApiToken
from lepret.staff import logins, sessions

# Nobody sees or gives out the secrets of second factors: see `manage.py second_factor`.
admin.site.unregister(TOTPDevice)
admin.site.unregister(StaticDevice)

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[ApiToken]
    UsersAdmin = UserAdmin[User]
else:  # Django's own classes take no type parameter when they run.
    ModelAdmin = admin.ModelAdmin
    UsersAdmin = UserAdmin


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


admin.site.unregister(User)


@admin.action(description="Log out the selected users everywhere", permissions=["change"])
def end_sessions(
    model_admin: StaffUserAdmin, request: HttpRequest, queryset: QuerySet[User]
) -> None:
    assert isinstance(request.user, User), "admin lets nobody else in"
    for user in queryset:
        # But this one, whose answer could not be shown.
        count = sessions.end_sessions(user, but=request.session.session_key)
        logins.sessions_ended(request, user, request.user, count)
    model_admin.message_user(request, "Logged out.", messages.SUCCESS)


@admin.register(User)
class StaffUserAdmin(UsersAdmin):
    """Django's own, but for passwords, and with an action that ends sessions.

    A password that is set here is good only for choosing another; one's own needs the current one.
    """

    actions = (end_sessions,)

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if not change:
            self._password_was_set(request, obj)

    def user_change_password(
        self,
        request: HttpRequest,
        id: str,  # noqa: A002 (Django calls it with this name)
        form_url: str = "",
    ) -> HttpResponse:
        user = self.get_object(request, unquote(id))
        if user == request.user:
            return redirect("password")
        response = super().user_change_password(request, id, form_url)
        if user is not None and User.objects.get(pk=user.pk).password != user.password:
            self._password_was_set(request, user)
        return response

    def _password_was_set(self, request: HttpRequest, user: User) -> None:
        assert isinstance(request.user, User), "admin lets nobody else in"
        sessions.password_is_set_by_another(user)
        logins.password_changed(request, user, by=request.user)
