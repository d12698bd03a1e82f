"""Template tags about the status of projections."""

from __future__ import annotations

from django import template
from django.db import InterfaceError, OperationalError

from readmodels.models import Failure

register = template.Library()


@register.simple_tag
def stopped_projections() -> list[str]:
    """The names of the projections that are stopped; none if the database is away."""
    try:
        return list(Failure.objects.filter(in_rebuild=False).values_list("name", flat=True))
    except (OperationalError, InterfaceError):
        return []
