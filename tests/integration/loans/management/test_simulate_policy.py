"""`manage.py simulate_policy` on a real event store."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from io import BytesIO, StringIO, TextIOWrapper
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from esdbclient import NewEvent, StreamState

from lepret.common.event_store_client import event_store_client
from loans.adapters import codec
from loans.adapters.loan_log import LoanLog
from loans.dependencies import policies
from loans.domain.lending_policy import POLICY_ID, PublishPolicy
from loans.domain.policy import Policy
from loans.domain.policy_simulation import simulate
from tests.support.event_store import RunningEventStore
from tests.support.loans import (
    append_a_loan_of_each_kind,
    append_event,
    append_requested_loan,
)
from tests.support.newer_version import append_newer, append_newer_request
from tests.support.processes import PATIENCE, PROJECT

pytestmark = pytest.mark.usefixtures("_keeps_signal_handlers")

STRICTER = Policy(deny_up_to=5, approve_from=10)


@pytest.fixture
def stricter(tmp_path: Path) -> str:
    file = tmp_path / "stricter.json"
    file.write_text('{"deny_up_to": 5, "approve_from": 10}')
    return str(file)


def output_of(*arguments: str) -> str:
    out = StringIO()
    call_command("simulate_policy", *arguments, stdout=out)
    return out.getvalue()


def report_of(*arguments: str) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(output_of(*arguments, "--json"))
    return report


def cells(report: dict[str, Any]) -> dict[tuple[str, str], int]:
    return {
        (cell["was"], cell["would_be"]): cell["count"] for cell in report["simulated"]["matrix"]
    }


@pytest.mark.usefixtures("event_store")
class TestReport:
    def test_has_all_requests_in_the_store(self, stricter: str) -> None:
        append_a_loan_of_each_kind()
        append_requested_loan(score=None)
        assert cells(report_of(stricter)) == {
            ("approved_at_once", "review_by_one_person"): 1,
            ("denied_at_once", "denied_at_once"): 1,
            ("approved_by_people", "denied_at_once"): 1,
            ("denied_by_people", "review_by_one_person"): 1,
            ("under_review", "denied_at_once"): 1,
            ("not_scored_yet", "not_scored_yet"): 1,
        }

    def test_is_printed_for_people(self, stricter: str) -> None:
        append_a_loan_of_each_kind()
        printed = output_of(stricter)
        assert "5 requests for £25,000" in printed
        assert "3 (60.0%) would stand otherwise" in printed
        assert "denied at once, underwriters had approved 1." in printed
        assert "How a person would have decided" in printed

    def test_without_any_request(self, stricter: str) -> None:
        assert "There is no request to simulate." in output_of(stricter)

    def test_of_the_policy_that_was_in_force_is_that_nothing_changes(self) -> None:
        append_a_loan_of_each_kind()
        simulated = report_of("--policy-version", "0")["simulated"]
        assert (simulated["requests"], simulated["changed"], simulated["examples"]) == (5, 0, [])

    def test_of_a_proposed_version(self) -> None:
        append_requested_loan(score=9)
        now = timezone.now()
        policies().carry_out(
            PublishPolicy(
                id=POLICY_ID,
                issued_at=now,
                by="pat",
                why="safer",
                effective_at=now,
                policy=STRICTER,
            )
        )
        assert cells(report_of("--policy-version", "1")) == {
            ("approved_at_once", "review_by_one_person"): 1
        }

    def test_of_the_requests_of_some_days(self, stricter: str) -> None:
        append_requested_loan(score=9)
        today = timezone.localdate()
        tomorrow, yesterday = today + timedelta(days=1), today - timedelta(days=1)

        def count(*period: str) -> int:
            found: int = report_of(stricter, *period)["simulated"]["requests"]
            return found

        assert count("--from", f"{today}", "--to", f"{today}") == 1
        assert count("--from", f"{tomorrow}") == 0
        assert count("--to", f"{yesterday}") == 0

    def test_reads_the_policy_from_standard_input(self, monkeypatch: pytest.MonkeyPatch) -> None:
        append_requested_loan(score=9)
        typed = TextIOWrapper(BytesIO(b'{"approve_from": 10}'))
        monkeypatch.setattr(sys, "stdin", typed)
        assert report_of("-")["simulated"]["changed"] == 1

    def test_does_not_depend_on_the_size_of_pages(self) -> None:
        append_a_loan_of_each_kind()
        append_event("LoanPaidBack", times=3)
        whole = simulate(LoanLog(event_store_client), STRICTER)
        for page in (2, 3, 7):
            assert simulate(LoanLog(event_store_client, page=page), STRICTER) == whole

    def test_goes_on_after_a_restart_of_the_store(self, event_store: RunningEventStore) -> None:
        append_a_loan_of_each_kind()
        restarts = iter([event_store.restart])

        def restart(reached: int, end: int) -> None:
            if reached:
                next(restarts, lambda: None)()

        log = LoanLog(event_store_client, page=5, on_page=restart)
        assert simulate(log, STRICTER).requests == 5

    def test_ends_with_what_was_there_at_its_beginning(self) -> None:
        append_requested_loan(score=9)

        def apply(reached: int, end: int) -> None:
            append_requested_loan(score=9)

        log = LoanLog(event_store_client, page=2, on_page=apply)
        assert simulate(log, STRICTER).requests == 1


@pytest.mark.usefixtures("event_store")
class TestOddEvents:
    def test_of_others_do_not_count(self, stricter: str) -> None:
        append_requested_loan(score=9)
        append_event("LoanPaidBack")
        append_raw("LoanRequest:not-an-id", "LoanRequested", b"{}")
        append_raw("AnotherApplication:1", "AutoApproved", b"{}")
        report = report_of(stricter)
        assert report["simulated"]["requests"] == 1
        assert (report["unreadable"], report["of_newer_version"]) == (0, 0)

    def test_unreadable_ones_are_counted(self, stricter: str) -> None:
        append_requested_loan(score=9)
        for data, metadata in [(b"\xff", b""), (b"{}", b""), (b"{}", b'{"schemaVersion": []}')]:
            append_raw(codec.stream_name(uuid4()), "LoanRequested", data, metadata)
        printed = output_of(stricter)
        assert "1 request for £5,000" in printed
        assert "Left out: 3 events that could not be read." in printed

    def test_those_of_a_newer_version_are_counted(self, stricter: str) -> None:
        request = append_requested_loan(score=9)
        append_newer_request()
        append_newer("RequestWithdrawn", 1, loan_request_id=request.loan_request_id)
        report = report_of(stricter)
        assert report["of_newer_version"] == 2
        assert "2 events that only a newer version" in output_of(stricter)

    def test_those_of_version_1_are_upcast(self, stricter: str) -> None:
        id_ = uuid4()
        known = {"id": str(id_), "occurred_at": "2026-11-23T09:30:00Z"}
        stored: dict[str, dict[str, object]] = {
            "LoanRequested": {"name": "Ann Example", "national_id": "123456aa", "amount": 7},
            "CreditChecked": {"credit_score": 9},
            "AutoApproved": {},
        }
        for type_, fields in stored.items():
            append_raw(codec.stream_name(id_), type_, json.dumps(known | fields).encode())
        assert cells(report_of(stricter)) == {("approved_at_once", "review_by_one_person"): 1}


class TestRefusals:
    @pytest.mark.parametrize(
        ("text", "problems"),
        [
            ("[]", ["Input should be an object."]),
            ("{", ["Invalid JSON"]),
            ('{"deny_up_too": 3}', ["deny_up_too: There is no such field."]),
            (
                '{"deny_up_to": 99, "lease": "soon"}',
                ["deny_up_to: At most 10.", "lease: Input should be a valid"],
            ),
            ('{"deny_up_to": 8}', ["`deny_up_to` must be below `approve_from`."]),
            ('{"reasons": {"other": {"staff": "x"}}}', ["reasons.other.applicant: This field is"]),
            ("x" * 1_000_001, ["larger than 1,000,000 bytes"]),
        ],
    )
    def test_what_is_no_policy(self, tmp_path: Path, text: str, problems: list[str]) -> None:
        file = tmp_path / "policy.json"
        file.write_text(text)
        with pytest.raises(CommandError) as refused:
            output_of(str(file))
        for problem in problems:
            assert problem in str(refused.value)

    @pytest.mark.parametrize(
        ("arguments", "problem"),
        [
            ([], "required"),
            (["a.json", "--policy-version", "1"], "not allowed with"),
            (["no-such-file.json"], "No such file"),
            (["."], "Is a directory"),
            (["--policy-version", "-7"], "is not a version's number"),
            (["--policy-version", "0", "--from", "yesterday"], "is not a day such as"),
            (["--policy-version", "0", "--from", "2026-11-02", "--to", "2026-11-01"], "after"),
        ],
    )
    def test_what_cannot_be_done(self, arguments: list[str], problem: str) -> None:
        with pytest.raises(CommandError, match=problem):
            output_of(*arguments)

    @pytest.mark.usefixtures("streams")
    def test_a_version_that_there_is_not(self) -> None:
        with pytest.raises(CommandError, match="There is no version 70000"):
            output_of("--policy-version", "70000")

    @pytest.mark.usefixtures("no_event_store")
    @pytest.mark.parametrize("version", ["0", "1"])
    def test_while_the_store_is_away(self, version: str) -> None:
        with pytest.raises(CommandError, match=r"^The event store is away"):
            output_of("--policy-version", version)


class TestProcess:
    """The command as a shell runs it."""

    def test_prints_json_alone_and_no_bar(
        self, event_store: RunningEventStore, stricter: str
    ) -> None:
        append_requested_loan(score=9)
        with _process(event_store.uri, stricter, "--json") as process:
            output, log = process.communicate(timeout=PATIENCE)
        assert json.loads(output)["simulated"]["requests"] == 1
        assert (process.returncode, log) == (0, "")

    def test_says_once_that_the_store_is_away(
        self, event_store: RunningEventStore, stricter: str
    ) -> None:
        event_store.stop()
        with _process(event_store.uri, stricter) as process:
            output, log = process.communicate(timeout=PATIENCE)
        assert process.returncode == 1
        assert output == ""
        assert log.startswith("CommandError: The event store is away (")
        assert log.count("\n") == 1

    @pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
    def test_ends_in_order_at_a_signal(self, stricter: str, signal_number: int) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            silent.settimeout(PATIENCE)
            uri = f"esdb://127.0.0.1:{silent.getsockname()[1]}?tls=false"
            with _process(uri, stricter) as process, silent.accept()[0]:
                process.send_signal(signal_number)
                output, log = process.communicate(timeout=PATIENCE)
        assert process.returncode == 130, log
        assert (output, log) == ("", "CommandError: Stopped early.\n")


def append_raw(stream: str, type_: str, data: bytes, metadata: bytes = b"") -> None:
    event_store_client().append_to_stream(
        stream,
        current_version=StreamState.ANY,
        events=[NewEvent(type=type_, data=data, metadata=metadata)],
    )


@contextmanager
def _process(uri: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "lepret.settings",
        "EVENTSTORE_URI": uri,
    }
    with subprocess.Popen(
        [sys.executable, "manage.py", "simulate_policy", *arguments],
        cwd=PROJECT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()
