"""The tokens with which programs call the API, and how often logins have failed lately."""

from __future__ import annotations

from datetime import datetime
from typing import Final, Self

from django.conf import settings
from django.db import models
from django.db.models import Q

LONGEST_TOKEN_NAME: Final = 100


class Scope(models.TextChoices):
    """What a token allows."""

    CREATE = "requests:create", "Apply for loans under the token's own name."
    READ_QUEUE = "queue:read", "Read the underwriters' queue."
    DECIDE = "requests:decide", "Approve and deny loan requests."


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
