"""Admin pages for superusers: users, and the API's tokens, which they look at and revoke."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.models import Group, User
from django.db.models import ManyToManyField, QuerySet
from django.forms import CheckboxSelectMultiple, ModelMultipleChoiceField
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django_otp.plugins.otp_static.models import StaticDevice
from django_otp.plugins.otp_totp.models import TOTPDevice

from lepret.api import tokens
from lepret.models import ApiToken
from lepret.staff import logins, sessions
from lepret.staff.roles import BACK_OFFICE, IN_ADMIN, LEADS, POLICY_MAKERS, UNDERWRITERS

# Nobody sees or gives out the secrets of second factors: see `manage.py second_factor`.
admin.site.unregister(TOTPDevice)
admin.site.unregister(StaticDevice)
# Who may do what follows from groups, which must keep their names. Permissions do nothing here.
admin.site.unregister(Group)

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[ApiToken]
    UsersAdmin = UserAdmin[User]
    GroupsField = ModelMultipleChoiceField[Group]
else:  # Django's own classes take no type parameter when they run.
    ModelAdmin = admin.ModelAdmin
    UsersAdmin = UserAdmin
    GroupsField = ModelMultipleChoiceField


def _is_administrator(request: HttpRequest) -> bool:
    return request.user.is_active and request.user.is_superuser


@admin.action(description="Revoke the selected tokens", permissions=["view"])
def revoke(model_admin: ApiTokenAdmin, request: HttpRequest, queryset: QuerySet[ApiToken]) -> None:
    for token in queryset:
        tokens.revoke(token)
    model_admin.message_user(request, "Revoked.", messages.SUCCESS)


@admin.register(ApiToken)
class ApiTokenAdmin(ModelAdmin):
    """Read-only except for revoking. Tokens are made by `manage.py api_token`."""

    section = "System"
    explained = "Programs that may call the API, each as the user whom it belongs to."
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
        return _is_administrator(request)

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


_ROLES: Final = {
    UNDERWRITERS: "decide on loan requests",
    LEADS: "as underwriters, decide on what others leave to them, and hand over what others hold",
    BACK_OFFICE: "look at everything here, and change nothing",
    POLICY_MAKERS: "propose and confirm versions of the lending policy",
}


class RolesField(GroupsField):
    """The groups that give staff their roles, each with what its members do."""

    widget = CheckboxSelectMultiple

    def label_from_instance(self, obj: Any) -> str:
        return f"{obj.name}: {_ROLES[obj.name]}"


@admin.register(User)
class StaffUserAdmin(UsersAdmin):
    """Django's own, but for roles and passwords, and with an action that ends sessions.

    A password that is set here is good only for choosing another; one's own needs the current one.
    """

    section = "Staff"
    explained = "Who may log in, and as what."
    list_display = ("username", "roles", "is_superuser", "is_active", "last_login")
    list_filter = ("groups", "is_superuser", "is_active")
    readonly_fields = ("last_login", "date_joined")
    fieldsets = (
        (None, {"fields": ("groups", "username", "password", "is_active")}),
        ("Personal info", {"fields": ("first_name", "last_name", "email")}),
        ("Administration", {"fields": ("is_superuser", "last_login", "date_joined")}),
    )
    add_fieldsets = (
        (None, {"fields": ("groups", "username", "usable_password", "password1", "password2")}),
    )
    actions = (end_sessions,)

    @admin.display(description="Roles")
    def roles(self, user: User) -> str:
        return ", ".join(sorted(group.name for group in user.groups.all()))

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        return super().get_queryset(request).prefetch_related("groups")

    def formfield_for_manytomany(
        self, db_field: ManyToManyField[Any, Any], request: HttpRequest, **kwargs: Any
    ) -> Any:
        if db_field.name != "groups":
            return super().formfield_for_manytomany(db_field, request, **kwargs)
        groups = Group.objects.filter(name__in=_ROLES).order_by("-name")
        return RolesField(groups, label="Roles", required=False)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return _is_administrator(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return _is_administrator(request)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return _is_administrator(request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return _is_administrator(request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return _is_administrator(request)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        user: User = form.instance
        # Django's admin asks for it, besides the role.
        user.is_staff = user.is_superuser or user.groups.filter(name__in=IN_ADMIN).exists()
        user.save(update_fields=["is_staff"])

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
