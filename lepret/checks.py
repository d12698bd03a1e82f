"""Warnings about this project's own settings, given by `manage.py check --deploy`."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Tags, Warning, register  # noqa: A004


@register(Tags.security, deploy=True)
def hmac_key_is_set(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Warn if the HMAC key depends on the secret key, which may be changed at any time."""
    if settings.ENVIRONMENT.lepret_hmac_key:
        return []
    return [
        Warning(
            "LEPRET_HMAC_KEY is not set, so it is derived from DJANGO_SECRET_KEY.",
            hint="Set it, and never change it: stream names in the event store depend on it.",
            id="lepret.W001",
        )
    ]
