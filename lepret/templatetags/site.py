"""What every page says about the site: whom to contact."""

from __future__ import annotations

from django import template
from django.conf import settings
from django.utils.html import urlize
from django.utils.safestring import SafeString, mark_safe

register = template.Library()


@register.simple_tag
def contact() -> SafeString:
    """Whom to contact, with links for addresses; empty if the settings do not say.

    A tag, since the page of an internal error is rendered without any context.
    """
    return mark_safe(urlize(settings.CONTACT, autoescape=True))  # noqa: S308 (it escapes)
