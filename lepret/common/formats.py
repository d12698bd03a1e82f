"""How amounts and times are written for people: on pages, in the admin and in exports."""

from __future__ import annotations

import math
from datetime import datetime

from babel.numbers import format_currency, get_currency_name, get_currency_symbol
from django.conf import settings
from django.utils import timezone
from django.utils.formats import date_format

_LOCALE = "en"


def money(amount: int) -> str:
    """An amount with the currency, such as `£10,000`, or `CHF 10,000` with a no-break space."""
    space = "\N{NO-BREAK SPACE}" if currency_symbol().isalpha() else ""
    return format_currency(
        amount, settings.CURRENCY, f"¤{space}#,##0", locale=_LOCALE, currency_digits=False
    )


def currency_symbol() -> str:
    """The currency's sign, such as `£`, or its code if it has none."""
    return get_currency_symbol(settings.CURRENCY, locale=_LOCALE)


def currency_name() -> str:
    """What the currency is called, such as `British pounds`."""
    return get_currency_name(settings.CURRENCY, count=2, locale=_LOCALE)


def moment(at: datetime) -> str:
    """A time in the server's zone, which it names: `29 Nov 2026, 01:33 GMT`."""
    return date_format(timezone.localtime(at), "DATETIME_FORMAT")


def wait_in_words(seconds: float) -> str:
    """How long somebody has to wait, rounded up: `a minute`, `14 minutes`, `3 hours`."""
    minutes = math.ceil(seconds / 60)
    if minutes <= 1:
        return "a minute"
    hours = math.ceil(minutes / 60)
    return f"{minutes} minutes" if hours == 1 else f"{hours} hours"
