"""The forms into which passwords are typed, and how often each may be tried."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from django import forms
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY
from django.contrib.auth.forms import AuthenticationForm, PasswordChangeForm
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.validators import MaxLengthValidator
from django.http import HttpRequest

from lepret.common.callers import address_of
from lepret.staff import attempts, devices, logins

LONGEST_USERNAME: Final = 150
LONGEST_PASSWORD: Final = 4096


def _bound(field: forms.Field, longest: int = LONGEST_PASSWORD) -> None:
    """Refuse what is longer, before anything is done with it."""
    field.validators.append(MaxLengthValidator(longest))


class StaffLoginForm(AuthenticationForm):
    """User name and password. Tries the password only while few have been wrong."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _bound(self.fields["username"], LONGEST_USERNAME)
        _bound(self.fields["password"])

    def clean(self) -> dict[str, Any]:
        """Check the password.

        Raises:
            TooManyAttempts: it was not tried.
        """
        username = self.cleaned_data.get("username")
        if username is None or "password" not in self.cleaned_data:
            return self.cleaned_data
        assert self.request is not None
        device = devices.device_of(self.request, username)
        counters = attempts.of_login(username, address_of(self.request), device=device)
        try:
            with attempts.counted(counters):
                return super().clean()
        except ValidationError:
            if attempts.is_at_limit(counters):
                logins.locked_out(self.request, username)
            raise


class StaffPasswordChangeForm(PasswordChangeForm):
    """The current password, and a new one twice."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            _bound(field)
        self.fields["old_password"].label = "Current password"
        self.fields["new_password1"].label = "New password"
        self.fields["new_password1"].help_text = (
            "At least 12 characters of any kind, and nothing that is easy to guess, such as a "
            "password that many people use, or the words of this site. A few words in a row that "
            "have nothing to do with each other are easy to remember and hard to guess."
        )
        self.fields["new_password2"].label = "New password again"

    def clean_old_password(self) -> str:
        """Check the current password.

        Raises:
            TooManyAttempts: it was not tried.
        """
        with attempts.counted(attempts.of_password_change(self.user.get_username())):
            return super().clean_old_password()

    def clean_new_password1(self) -> str:
        """Refuse the current password, which somebody else may know."""
        new: str = self.cleaned_data["new_password1"]
        if new == self.cleaned_data.get("old_password"):
            raise ValidationError("This is your current password. Choose another.")
        return new


class WithCurrentPassword(forms.Form):
    """Asks for the current password first, if the user has logged in with one."""

    password = forms.CharField(
        label="Current password",
        strip=False,
        max_length=LONGEST_PASSWORD,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
    )
    purpose: ClassVar[str]
    """What the form is for: in the log of failures, which are counted for each purpose."""

    request: HttpRequest
    user: User

    def ask_for_password_first(self) -> None:
        """Keep the field only for those who have a password that they log in with."""
        backend = self.request.session.get(BACKEND_SESSION_KEY)
        if backend is None or backend == settings.OIDC_BACKEND:
            del self.fields["password"]  # It was given just now, or at the identity provider.
        else:
            self.order_fields(["password"])

    def clean_password(self) -> str:
        """Check the password.

        Raises:
            TooManyAttempts: it was not tried.
        """
        password: str = self.cleaned_data["password"]
        username = self.user.get_username()
        with attempts.counted(attempts.of_session(username, self.purpose)):
            if not self.user.check_password(password):
                logins.failed(self.request, username, self.purpose)
                raise ValidationError("This is not your password.")
        return password
