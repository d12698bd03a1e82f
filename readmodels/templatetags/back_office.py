"""What the first page of the back office shows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from django import template
from django.contrib import admin
from django.contrib.auth.models import User
from django.db import InterfaceError, OperationalError
from django.urls import reverse
from django.utils import timezone

from lepret.staff.roles import makes_policy, may_read_policy
from readmodels.pages.figures import Figures, read_figures

register = template.Library()

_POLICY: Final = "Lending policy"


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


@register.simple_tag(takes_context=True)
def sections(context: Mapping[str, Any], app_list: Iterable[Mapping[str, Any]]) -> list[Section]:
    """All lists that somebody may see, by what they are for: the daily work comes first."""
    found = {name: Section(name) for name in ("Work", _POLICY, "Staff", "System")}
    if "app_label" not in context and may_read_policy(context["user"]):
        found[_POLICY].lists.extend(_policy(context["user"]))
    for app in app_list:
        for model in app["models"]:
            model_admin = admin.site.get_model_admin(model["model"])
            section = found[getattr(model_admin, "section", "System")]
            section.lists.append({**model, "explained": getattr(model_admin, "explained", "")})
    return [section for section in found.values() if section.lists]


def _policy(user: User) -> Iterator[dict[str, Any]]:
    """The pages of the lending policy, as if they were lists of Django's admin."""
    yield {
        "name": "Versions",
        "object_name": "policy",
        "admin_url": reverse("loans:policy"),
        "add_url": reverse("loans:policy-propose") if makes_policy(user) else None,
        "explained": "By which rules, limits and reasons requests are decided, and were before.",
    }
    if makes_policy(user):
        yield {
            "name": "Simulations",
            "object_name": "simulation",
            "admin_url": reverse("loans:simulations"),
            "add_url": None,
            "explained": "What another policy would have done with the requests of the past.",
        }
