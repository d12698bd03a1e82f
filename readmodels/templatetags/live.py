"""Template tags of pages that are updated live."""

from __future__ import annotations

from typing import Any

from django import template
from django.conf import settings

from readmodels.live.heartbeats import server_time

register = template.Library()


@register.inclusion_tag("readmodels/_connection.html")
def connection() -> dict[str, Any]:
    """Where a page shows whether it is live, with the times that its script goes by."""
    return {"now": server_time(), "heartbeat_seconds": settings.LIVE_HEARTBEAT_SECONDS}
