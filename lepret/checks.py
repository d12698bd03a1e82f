"""Warnings that `manage.py check --deploy` gives of this project's own settings."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Tags, Warning, register  # noqa: A004


@register(Tags.security, deploy=True)
def hmac_key_is_its_own(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """The secret key may be changed at any time, the key of the hashes never."""
    if settings.ENVIRONMENT.lepret_hmac_key:
        return []
    return [
        Warning(
            "LEPRET_HMAC_KEY is not set, so it follows from DJANGO_SECRET_KEY.",
            hint="Set it, and never change it: the event store has streams that are named with it.",
            id="lepret.W001",
        )
    ]
