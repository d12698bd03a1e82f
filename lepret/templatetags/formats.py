"""Template filters for amounts and times."""

from __future__ import annotations

from datetime import datetime

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from lepret.common import formats

register = template.Library()


@register.filter
def money(amount: int) -> str:
    """An amount with the currency."""
    return formats.money(amount)


@register.filter
def moment(at: datetime) -> SafeString:
    """A time in the server's zone, which the reader's browser may write in its own."""
    return format_html(
        '<time datetime="{}" data-local>{}</time>', at.isoformat(), formats.moment(at)
    )


@register.simple_tag
def currency_symbol() -> str:
    """The currency's sign, such as `£`."""
    return formats.currency_symbol()
