"""What the first page of the back office shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django import template
from django.contrib import admin
from django.db import InterfaceError, OperationalError
from django.utils import timezone

from readmodels.pages.figures import Figures, read_figures

register = template.Library()


@dataclass(frozen=True)
class Section:
    """Lists that belong together. Each is a model as Django's admin describes it."""

    name: str
    lists: list[dict[str, Any]] = field(default_factory=list)


@register.simple_tag
def figures() -> Figures | None:
    """What there is to do; `None` if the database is away."""
    try:
        return read_figures(timezone.localtime())
    except (OperationalError, InterfaceError):
        return None


@register.simple_tag
def sections(app_list: Iterable[Mapping[str, Any]]) -> list[Section]:
    """All lists that somebody may see, by what they are for: the daily work comes first."""
    found = {name: Section(name) for name in ("Work", "Staff", "System")}
    for app in app_list:
        for model in app["models"]:
            model_admin = admin.site.get_model_admin(model["model"])
            section = found[getattr(model_admin, "section", "System")]
            section.lists.append({**model, "explained": getattr(model_admin, "explained", "")})
    return [section for section in found.values() if section.lists]
