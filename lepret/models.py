"""What is known of those who come in: tokens, logins, second factors, accounts elsewhere."""

from __future__ import annotations

from base64 import b32encode
from datetime import datetime
from typing import Final, Self

from django.conf import settings
from django.contrib.sessions.base_session import AbstractBaseSession
from django.db import models
from django.db.models import Q
from django_otp.plugins.otp_totp.models import TOTPDevice

from lepret.common.keyed_hashes import keyed_hash

LONGEST_TOKEN_NAME: Final = 100
LONGEST_SUBJECT: Final = 255  # OpenID Connect Core, section 2.


class Scope(models.TextChoices):
    """What a token allows."""

    CREATE = "requests:create", "Apply for loans under the token's own name."
    READ_QUEUE = "queue:read", "Read the underwriters' queue."
    DECIDE = "requests:decide", "Claim, approve and deny loan requests, and add notes to them."
    READ_POLICY = "policy:read", "Read the lending policy."


class ApiTokenQuerySet(models.QuerySet["ApiToken"]):
    def usable(self, at: datetime) -> Self:
        """Those that are neither revoked nor expired, and whose users are active."""
        return self.filter(
            Q(expires_at=None) | Q(expires_at__gt=at), revoked_at=None, user__is_active=True
        )


class ApiToken(models.Model):
    """A program's token: it acts as its user, within its scopes.

    The token itself is not stored; `digest` is its SHA-256, in hex. `last_used_at` may be a minute
    behind.
    """

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="api_tokens"
    )
    name = models.CharField(max_length=LONGEST_TOKEN_NAME)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    scopes = models.JSONField(default=list)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)
    last_used_at = models.DateTimeField(null=True)

    objects = ApiTokenQuerySet.as_manager()

    class Meta:
        verbose_name = "API token"

    def __str__(self) -> str:
        return f"{self.name} of {self.user}"

    def state(self, at: datetime) -> str:
        """`usable`, `revoked`, `expired`, or `inactive` if its user is."""
        if self.revoked_at is not None:
            return "revoked"
        if self.expires_at is not None and self.expires_at <= at:
            return "expired"
        return "usable" if self.user.is_active else "inactive"


class LoginFailures(models.Model):
    """How often a password was wrong lately: for an account, for a caller, or for both together.

    The two are keyed hashes, so that the table names nobody and holds nothing that was typed; an
    empty one stands for all. The count ends at `until`.
    """

    account = models.CharField(max_length=64, blank=True)
    caller = models.CharField(max_length=64, blank=True)
    count = models.PositiveIntegerField(default=0)
    until = models.DateTimeField(db_index=True)

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("account", "caller"), name="one_count_of_failures"),
        )


class StaffSession(AbstractBaseSession):
    """A session, as Django stores it, with its user, so that somebody's sessions can be found.

    `user_id` is no foreign key: a session outlives its user, so that a page can say why it ended.
    """

    user_id = models.IntegerField(null=True, db_index=True)


class InitialPassword(models.Model):
    """A user's password that somebody else has set: good only for choosing another."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="initial_password"
    )
    set_at = models.DateTimeField(auto_now=True)


class AuthenticatorApp(TOTPDevice):  # type: ignore[misc]  # it has no types
    """An app that makes a member of staff's codes.

    The stored `key` is only half of the secret: the other half is `LEPRET_HMAC_KEY`, so that
    nobody can make codes from the database alone.
    """

    class Meta:
        proxy = True

    @property
    def bin_key(self) -> bytes:
        """The secret that the app has, 20 bytes."""
        return keyed_hash(settings.HMAC_KEY, "authenticator app", self.key)[:20]

    @property
    def base32_key(self) -> str:
        """The same as people type it into the app."""
        return b32encode(self.bin_key).decode()


class ProviderAccount(models.Model):
    """A user's account at the company's identity provider.

    `subject` is the provider's own name for it (the claim `sub`), which never changes and is never
    given to anybody else, unlike user names and e-mail addresses (OpenID Connect Core, 5.7).
    """

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="provider_account"
    )
    issuer = models.CharField(max_length=255)
    subject = models.CharField(max_length=LONGEST_SUBJECT)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["issuer", "subject"], name="one_user_per_account")
        ]

    def __str__(self) -> str:
        return f"{self.subject} at {self.issuer}"
