"""Amounts and times for people."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.template import Context, Template
from pytest_django import Settings

from lepret.common.formats import currency_name, moment, money


@pytest.mark.parametrize(
    ("currency", "written"),
    [
        ("GBP", "£1,234,567"),
        ("EUR", "€1,234,567"),
        ("JPY", "¥1,234,567"),
        ("CHF", "CHF\N{NO-BREAK SPACE}1,234,567"),
    ],
)
def test_amounts_have_separators_and_the_currency(
    settings: Settings, currency: str, written: str
) -> None:
    settings.CURRENCY = currency
    assert money(1_234_567) == written


def test_a_currency_has_a_name(settings: Settings) -> None:
    settings.CURRENCY = "CHF"
    assert currency_name() == "Swiss francs"


def test_times_name_their_zone(settings: Settings) -> None:
    settings.TIME_ZONE = "Europe/Paris"
    at = datetime(2026, 7, 3, 22, 5, tzinfo=UTC)
    assert moment(at) == "4 Jul 2026, 00:05 CEST"


def test_templates_write_the_same_for_machines_too(settings: Settings) -> None:
    settings.TIME_ZONE = "Europe/Paris"
    template = Template("{% load formats %}{{ amount|money }} {{ at|moment }}")
    at = datetime(2026, 1, 3, 22, 5, tzinfo=UTC)
    assert template.render(Context({"amount": 5_000, "at": at})) == (
        '£5,000 <time datetime="2026-01-03T22:05:00+00:00" data-local>3 Jan 2026, 23:05 CET</time>'
    )
