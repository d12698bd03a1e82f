"""What a group is called, and what happens if its settings may not be changed."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any, Final, cast

import grpc
import pytest
from esdbclient.exceptions import AlreadyExists, GrpcError, ServiceUnavailable

from lepret.common.event_store_connection import SharedClient
from loans.workers.groups import SETTINGS, Group

TYPES: Final = ("LoanRequested", "LoanWithdrawn")


def group(*event_types: str, purpose: str = "checks") -> Group:
    return Group(purpose, event_types, lambda event: True, command="check")


class Refusal(grpc.RpcError, grpc.Call):  # type: ignore[misc]
    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.PERMISSION_DENIED


Refusal.__abstractmethods__ = frozenset()  # type: ignore[attr-defined]


class FakeClient:
    """Has the group, with a setting of its own. What it is asked to change or list fails."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def create_subscription_to_all(self, *_: Any, **__: Any) -> None:
        raise AlreadyExists

    def get_subscription_info(self, *_: Any, **__: Any) -> SimpleNamespace:
        return SimpleNamespace(start_from="C:0/P:0", **{**SETTINGS, "max_retry_count": 7})

    def update_subscription_to_all(self, *_: Any, **__: Any) -> None:
        raise self._error

    list_subscriptions = update_subscription_to_all


def prepare(error: Exception) -> None:
    group(*TYPES).prepare(cast(SharedClient, FakeClient(error)))


def test_a_name_is_the_same_each_time_and_says_what_the_group_is_for() -> None:
    assert group(*TYPES).name == group(*TYPES).name
    assert group(*TYPES).name.startswith("checks-")


def test_groups_with_other_types_have_other_names() -> None:
    types = [TYPES, TYPES[:1], TYPES[::-1], ("Loan", "Requested"), ("LoanRequested.*",)]
    assert len({group(*each).name for each in types}) == len(types)


def test_a_worker_that_may_not_change_settings_says_so_and_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        prepare(GrpcError(Refusal()))

    assert "has other settings (max_retry_count 7)" in caplog.text
    assert "must be in $ops" in caplog.text


def test_a_worker_that_loses_the_store_meanwhile_tries_again() -> None:
    with pytest.raises(ServiceUnavailable):
        prepare(ServiceUnavailable("away"))
