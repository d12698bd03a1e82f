"""`manage.py policy`: for scripts and operators."""

from __future__ import annotations

import io
import json
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from lepret.demo import first_policy
from lepret.staff.roles import POLICY_MAKERS
from loans.application.policy_files import LARGEST_FILE, as_json, policy_in
from loans.dependencies import policies
from loans.domain.lending_policy import Version
from loans.domain.policy import VERSION_0, Factor, Lender, Policy
from tests.support.policies import propose, publish
from tests.support.staff import make_policy_maker, make_underwriter

pytestmark = pytest.mark.django_db

STRICTER = Policy(
    approve_from=9,
    decide_within=timedelta(days=3),
    factors={"late_payments": Factor(applicant="You have paid late.")},
    lender=Lender(name="L", address="A"),
)


@pytest.fixture(autouse=True)
def _makers(event_store: object) -> None:
    make_policy_maker("pat")
    make_policy_maker("paul")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "policy.json"
    path.write_text(as_json(STRICTER))
    return path


def run(*arguments: Any) -> str:
    out = io.StringIO()
    call_command("policy", *map(str, arguments), stdout=out, stderr=io.StringIO())
    return out.getvalue()


def versions() -> tuple[Version, ...]:
    return policies().versions()


def test_one_publishes_and_another_confirms(file: Path) -> None:
    said = run("publish", file, "--by", "pat", "--why", "Too many defaults")
    assert "Version 1, proposed by pat, waits for somebody else" in said
    said = run("confirm", 1, "--by", "paul")
    assert "confirmed by paul, is in force from" in said
    [version] = versions()
    assert (version.policy, version.why) == (STRICTER, "Too many defaults")


def test_what_is_shown_can_be_published_again(monkeypatch: pytest.MonkeyPatch) -> None:
    assert policy_in(run("show").encode()) == VERSION_0.policy
    publish(STRICTER)
    propose(VERSION_0.policy.model_copy(update={"factors": STRICTER.factors}))
    shown = run("show", "--json")
    assert shown == run("show", 1)
    assert policy_in(run("show", 0).encode()) == VERSION_0.policy
    run("withdraw", 2, "--by", "paul")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(shown.encode())))
    run("publish", "-", "--by", "pat")
    assert versions()[2].policy == STRICTER
    assert versions()[2].why == "From standard input"


def test_publishing_twice_is_one_proposal(file: Path) -> None:
    for _ in range(2):
        run("publish", file, "--by", "pat")
    assert len(versions()) == 1


def test_a_later_moment_is_one_in_the_servers_zone(file: Path) -> None:
    run("publish", file, "--by", "pat", "--effective-at", "2090-01-04T09:00")
    at = timezone.localtime(versions()[0].effective_at)
    assert f"{at:%Y-%m-%d %H:%M}" == "2090-01-04 09:00"


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        ("{", ["Invalid JSON: "]),
        ("[]", ["Input should be an object."]),
        ('{"approve": 9}', ["approve: There is no such field."]),
        ('{"lender": {"name": "x", "address": "y", "fax": "z"}}', ["lender.fax: There is no such"]),
        ('{"approve_from": "7"}', ["approve_from: Write a whole number."]),
        ('{"deny_up_to": 8}', ["`deny_up_to` must be below"]),
        (
            '{"reasons": {"A b": {"staff": ""}}}',
            [
                "reasons.A b: A code has letters, digits",
                "reasons.A b.staff: This field is required.",
                "reasons.A b.applicant: This field is required.",
            ],
        ),
        (" " * (LARGEST_FILE + 1), ["it is larger than"]),
    ],
)
def test_each_wrong_field_of_a_file_is_named(
    tmp_path: Path, content: str, lines: list[str]
) -> None:
    path = tmp_path / "wrong.json"
    path.write_text(content)
    with pytest.raises(CommandError) as refusal:
        run("publish", path, "--by", "pat")
    first, *others = str(refusal.value).splitlines()
    assert first == f"{path} holds no policy:"
    assert [found.startswith(line) for found, line in zip(others, lines, strict=True)] == [
        True
    ] * len(lines)
    assert versions() == ()


def test_who_may(file: Path) -> None:
    make_underwriter("uma")
    gone = make_policy_maker("pia")
    gone.is_active = False
    gone.save()
    for name in ("uma", "pia"):
        with pytest.raises(CommandError, match=f"{name} is inactive, or not in the group"):
            run("publish", file, "--by", name)
    with pytest.raises(CommandError, match="no user 'nobody'"):
        run("confirm", 1, "--by", "nobody")
    assert POLICY_MAKERS == "Policy"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("confirm", 1, "--by", "pat"), "You have proposed this version"),
        (("confirm", 2, "--by", "paul"), "There is no version 2"),
        (("withdraw", 9, "--by", "paul"), "There is no version 9"),
        (("show", 2), "There is no version 2"),
        (("show", "x"), "'x' is not the number of a version"),
        (("confirm", 0, "--by", "paul"), "'0' is not the number of a version"),
        (("publish", "/nowhere", "--by", "paul"), "/nowhere cannot be read: No such file"),
        (("publish", "/", "--by", "paul"), "/ cannot be read: Is a directory"),
        (("publish", "-", "--by", "paul", "--effective-at", "noon"), "'noon' is not a time"),
        (("publish", "-"), "the following arguments are required: --by"),
    ],
)
def test_refusals_are_one_line(arguments: tuple[Any, ...], message: str) -> None:
    propose(STRICTER)
    with pytest.raises(CommandError) as refusal:
        run(*arguments)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_the_event_store_is_away(event_store: Any, file: Path, settings: Any) -> None:
    event_store.stop()
    settings.EVENTSTORE_TIMEOUT_SECONDS = 0.5
    for arguments in (("show",), ("publish", file, "--by", "pat"), ("confirm", 1, "--by", "pat")):
        with pytest.raises(CommandError, match=r"^The event store is away\."):
            run(*arguments)


class TestTheDemosPolicy:
    @pytest.fixture(autouse=True)
    def _accounts(self) -> None:
        make_policy_maker("policy")
        make_policy_maker("policy-second")

    def test_is_published_once_over_many_starts(self) -> None:
        for _ in range(2):
            first_policy.publish()
        [version] = versions()
        assert (version.proposed_by, version.confirmed_by) == ("policy", "policy-second")
        assert version.in_force_from is not None

    def test_is_confirmed_by_the_next_start_if_the_first_was_stopped(self) -> None:
        propose(STRICTER, by="policy")
        first_policy.publish()
        assert versions()[0].confirmed_by == "policy-second"

    def test_does_not_take_back_what_others_have_published(self) -> None:
        first_policy.publish()
        publish(versions()[0].policy.model_copy(update={"approve_from": 9}))
        first_policy.publish()
        assert len(versions()) == 2

    def test_has_everything_on_and_says_each_thing(self) -> None:
        content = first_policy.FILE.read_bytes()
        policy = policy_in(content)
        assert (policy.automatic_up_to, policy.four_eyes_above) == (10_000, 10_000)
        assert None not in (policy.lender, policy.supervisor, policy.bureau)
        assert policy.reasons.keys() == VERSION_0.policy.reasons.keys()
        assert set(json.loads(content)) == set(Policy.model_fields)
