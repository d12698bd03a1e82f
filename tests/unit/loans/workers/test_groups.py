"""What a group is called, and who makes or takes it with which rights, on a fake event store."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Final, cast

import pytest
from esdbclient.exceptions import AlreadyExists, NotFound, ServiceUnavailable

from lepret.common.event_store_connection import SharedClient
from loans.workers.groups import SETTINGS, Group, GroupMissing
from tests.support.fakes import denied

TYPES: Final = ("LoanRequested", "LoanWithdrawn")
THE_START: Final = "C:0/P:0"

yes_or_no = pytest.mark.parametrize("may_ask", [True, False], ids=["may ask", "may not ask"])


def group(*event_types: str, purpose: str = "checks") -> Group:
    return Group(purpose, event_types, lambda event: True)


@dataclass
class FakeClient:
    """An event store that has the group or not, and lets its user do some things or not."""

    is_there: bool = True
    may_ask: bool = True
    may_make: bool = True
    is_away: bool = False
    settings: dict[str, Any] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)

    def get_subscription_info(self, *_: Any, **__: Any) -> SimpleNamespace:
        self._note("info", is_allowed=self.may_ask)
        self._find()
        return SimpleNamespace(**{"start_from": THE_START, **SETTINGS, **self.settings})

    def list_subscriptions(self, *_: Any, **__: Any) -> list[SimpleNamespace]:
        self._note("list", is_allowed=self.may_ask)
        return [
            SimpleNamespace(event_source="$all", group_name=name, parked_message_count=3)
            for name in self.others
        ]

    def create_subscription_to_all(self, *_: Any, **__: Any) -> None:
        self._note("create", is_allowed=self.may_make)
        if self.is_there:
            raise AlreadyExists
        self.is_there = True

    def update_subscription_to_all(self, *_: Any, **settings: Any) -> None:
        self._note("update", is_allowed=self.may_make)
        self.settings |= {key: settings[key] for key in self.settings}

    def delete_subscription(self, *_: Any, **__: Any) -> None:
        self._note("delete", is_allowed=self.may_make)
        self.is_there, self.settings = False, {}

    def read_subscription_to_all(self, *_: Any, **__: Any) -> None:
        self._note("read", is_allowed=True)
        self._find()

    def _note(self, call: str, *, is_allowed: bool) -> None:
        self.calls.append(call)
        if self.is_away:
            raise ServiceUnavailable("away")
        if not is_allowed:
            raise denied()

    def _find(self) -> None:
        if not self.is_there:
            raise NotFound

    def as_client(self) -> SharedClient:
        return cast(SharedClient, self)


def test_a_name_is_the_same_each_time_and_says_what_the_group_is_for() -> None:
    assert group(*TYPES).name == group(*TYPES).name
    assert group(*TYPES).name.startswith("checks-")


def test_groups_with_other_types_have_other_names() -> None:
    types = [TYPES, TYPES[:1], TYPES[::-1], ("Loan", "Requested"), ("LoanRequested.*",)]
    assert len({group(*each).name for each in types}) == len(types)


@yes_or_no
class TestAWorkerThatSubscribes:
    @pytest.mark.parametrize("may_make", [True, False])
    def test_takes_a_group_that_is_there_as_it_is(self, *, may_ask: bool, may_make: bool) -> None:
        store = FakeClient(may_ask=may_ask, may_make=may_make, settings={"max_retry_count": 7})
        group(*TYPES).subscribe(store.as_client())
        assert store.calls == ["info", "read"]

    def test_makes_one_that_is_missing(self, *, may_ask: bool) -> None:
        store = FakeClient(is_there=False, may_ask=may_ask)
        group(*TYPES).subscribe(store.as_client())
        assert store.calls[-2:] == ["create", "read"]

    def test_says_what_makes_it_if_this_user_may_not(self, *, may_ask: bool) -> None:
        store = FakeClient(is_there=False, may_ask=may_ask, may_make=False)
        with pytest.raises(GroupMissing) as caught:
            group(*TYPES).subscribe(store.as_client())
        assert str(caught.value) == (
            f"The event store has no group {group(*TYPES).name}. A user in $ops makes it: "
            "manage.py prepare_event_store"
        )


class TestAWorkerThatIsStarted:
    def test_says_what_other_settings_its_group_has(self, caplog: pytest.LogCaptureFixture) -> None:
        store = FakeClient(settings={"max_retry_count": 7, "start_from": "C:9/P:9"})
        group(*TYPES).warn(store.as_client())
        assert "other settings: max_retry_count 7, start_from C:9/P:9" in caplog.text
        assert "manage.py prepare_event_store" in caplog.text
        assert store.calls == ["info", "list"]

    @pytest.mark.parametrize("is_there", [True, False])
    def test_names_the_groups_of_other_versions(
        self, caplog: pytest.LogCaptureFixture, *, is_there: bool
    ) -> None:
        others = ["checks", "checks-0123abcd", "checks-of-others", group(*TYPES).name]
        store = FakeClient(is_there=is_there, others=others)
        group(*TYPES).warn(store.as_client())
        assert caplog.text.count("is another version's") == 2
        assert "The group checks-0123abcd, with 3 parked" in caplog.text

    def test_says_nothing_if_all_is_well(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        group(*TYPES).warn(FakeClient(others=[group(*TYPES).name]).as_client())
        assert not caplog.records

    def test_says_that_its_user_may_not_ask(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        group(*TYPES).warn(FakeClient(may_ask=False).as_client())
        (line,) = caplog.messages
        assert line.endswith("is used as it is: this user may not ask about groups")

    def test_is_told_if_the_store_is_away(self) -> None:
        with pytest.raises(ServiceUnavailable):
            group(*TYPES).warn(FakeClient(is_away=True).as_client())


class TestAWorkerThatChecks:
    def test_takes_a_refusal_for_an_answer(self) -> None:
        group(*TYPES).check(FakeClient(may_ask=False).as_client())

    def test_is_told_if_the_group_was_deleted(self) -> None:
        with pytest.raises(NotFound):
            group(*TYPES).check(FakeClient(is_there=False).as_client())


class TestPreparing:
    @pytest.mark.parametrize(
        ("store", "done"),
        [
            (FakeClient(is_there=False), "made"),
            (FakeClient(), "there already"),
            (FakeClient(settings={"max_retry_count": 7}), "changed: it had max_retry_count 7"),
            (FakeClient(settings={"start_from": "C:9/P:9"}), "made anew: it began at C:9/P:9"),
        ],
        ids=["missing", "there", "other settings", "another start"],
    )
    def test_makes_it_as_this_version_wants_it_once(self, store: FakeClient, done: str) -> None:
        assert group(*TYPES).prepare(store.as_client()) == done

        store.calls.clear()
        assert group(*TYPES).prepare(store.as_client()) == "there already"
        assert store.calls == ["create", "info"]
