"""The forms into which passwords are typed, and how often each may be tried."""

from __future__ import annotations

from typing import Any, Final

from django import forms
from django.contrib.auth.forms import AuthenticationForm, PasswordChangeForm
from django.core.exceptions import ValidationError
from django.core.validators import MaxLengthValidator

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
            "At least 12 characters of any kind, and none of the passwords that many people use. "
            "A few words in a row are easy to remember and hard to guess."
        )
        self.fields["new_password2"].label = "New password again"

    def clean_old_password(self) -> str:
        """Check the current password.

        Raises:
            TooManyAttempts: it was not tried.
        """
        with attempts.counted(attempts.of_password_change(self.user.get_username())):
            return super().clean_old_password()
