"""The write side's pages and API while the credit bureau is down."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pytest_django import Settings

from loans import dependencies
from tests.support.processes import free_port


@pytest.fixture
def no_credit_bureau(streams: None, settings: Settings) -> Iterator[None]:
    """Nothing listens at the credit bureau's address."""
    settings.CREDIT_BUREAU_URL = f"http://127.0.0.1:{free_port()}"
    settings.CREDIT_BUREAU_ATTEMPTS = 1
    dependencies.credit_bureau.cache_clear()
    yield
    dependencies.credit_bureau.cache_clear()
