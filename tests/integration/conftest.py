"""Fixtures for tests of pages and of the API."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import Settings

from readmodels.live import positions
from tests.support.staff import make_underwriter


@pytest.fixture
def underwriter(client: Client) -> User:
    """The underwriter who is logged in to `client`."""
    user = make_underwriter()
    client.force_login(user)
    return user


@pytest.fixture
def no_patience(settings: Settings) -> Iterator[None]:
    """Pages and the API wait only briefly for read models, which nobody updates."""
    settings.READ_MODEL_WAIT_SECONDS = 0.1
    yield
    positions.hints.close()
