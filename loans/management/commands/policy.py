"""`manage.py policy`: shows the lending policy, and proposes, confirms and withdraws versions."""

from __future__ import annotations

import re
import sys
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pydantic
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError
from django.utils import timezone

from lepret.common.input_errors import describe
from lepret.common.moments import local_moment_in
from lepret.management.common import user_named
from lepret.staff.roles import POLICY_MAKERS, makes_policy
from loans.adapters.event_store import EventStoreUnavailable, NewerVersionNeeded, StaleRevision
from loans.application.policies import PolicyUnavailable
from loans.application.policy_files import LARGEST_FILE, NoPolicy, as_json, policy_in
from loans.dependencies import policies
from loans.domain.lending_policy import (
    POLICY_ID,
    ConfirmPolicy,
    PublishPolicy,
    UnknownVersion,
    WithdrawPolicy,
    in_force,
)
from loans.domain.loan_request import Rejection
from loans.domain.policy import VERSION_0, Policy
from loans.web.policy_in_words import about


class Command(BaseCommand):
    help = (
        "Show the lending policy, and propose, confirm and withdraw versions of it. Two different "
        f"people make a version: both must be active, and in the group {POLICY_MAKERS}."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        show = actions.add_parser("show", help="print a version as JSON that `publish` takes")
        show.add_argument(
            "version",
            nargs="?",
            type=_version(0),
            help="its number; 0: the built-in one (default: the one in force)",
        )
        show.add_argument("--json", action="store_true", help="without saying whose it is")
        publish = actions.add_parser("publish", help="propose a version")
        publish.add_argument("file", help="a policy as JSON; - reads standard input")
        publish.add_argument("--why", help="why it is proposed (default: it names the file)")
        publish.add_argument(
            "--effective-at",
            type=_moment,
            metavar="TIME",
            help="from when on, such as 2027-01-04T09:00 (default: at once)",
        )
        publish.add_argument(
            "--first", action="store_true", help="do nothing if there is any version already"
        )
        for action, what in (("confirm", "confirm"), ("withdraw", "withdraw")):
            other = actions.add_parser(action, help=f"{what} a version that is not in force yet")
            other.add_argument("version", type=_version(1), help="its number")
        for action in ("publish", "confirm", "withdraw"):
            actions.choices[action].add_argument(
                "--by", required=True, metavar="USER", help="who does it"
            )

    def handle(self, *args: Any, action: str, **options: Any) -> None:
        act = {
            "show": self._show,
            "publish": self._publish,
            "confirm": self._confirm,
            "withdraw": self._withdraw,
        }[action]
        try:
            act(options)
        except Rejection as rejection:
            raise CommandError(str(rejection)) from None
        except pydantic.ValidationError as invalid:
            raise CommandError(" ".join(map(describe, invalid.errors()))) from None
        except PolicyUnavailable:
            raise CommandError("The lending policy cannot be read: its events are gone.") from None
        except NewerVersionNeeded:
            raise CommandError("A newer version of this program wrote the policy.") from None
        except (EventStoreUnavailable, StaleRevision):
            raise CommandError("The event store is away. Doing it again is safe.") from None

    def _show(self, options: dict[str, Any]) -> None:
        versions = policies().versions()
        number = options["version"]
        if number is None:
            number = in_force(versions, timezone.now()).version
        if number > len(versions):
            raise UnknownVersion(number)
        version = versions[number - 1] if number else None
        if not options["json"]:
            # Apart from the JSON, so that the output can be published again.
            self.stderr.write(about(version) if version else "Version 0, which is built in.")
        self.stdout.write(as_json(version.policy if version else VERSION_0.policy))

    def _publish(self, options: dict[str, Any]) -> None:
        if options["first"] and policies().versions():
            self.stdout.write("There are versions already: nothing was proposed.")
            return
        now = timezone.now()
        command = PublishPolicy(
            id=POLICY_ID,
            issued_at=now,
            by=_policy_maker(options["by"]),
            why=options["why"] or f"From {_called(options['file'])}",
            effective_at=options["effective_at"] or now,
            policy=_policy_of(options["file"]),
        )
        policies().carry_out(command)
        self.stdout.write(about(policies().versions()[-1]))

    def _confirm(self, options: dict[str, Any]) -> None:
        self._carry_out(ConfirmPolicy, options)

    def _withdraw(self, options: dict[str, Any]) -> None:
        self._carry_out(WithdrawPolicy, options)

    def _carry_out(
        self, kind: type[ConfirmPolicy | WithdrawPolicy], options: dict[str, Any]
    ) -> None:
        by, number = _policy_maker(options["by"]), options["version"]
        policies().carry_out(kind(id=POLICY_ID, issued_at=timezone.now(), by=by, version=number))
        self.stdout.write(about(policies().versions()[number - 1]))


def _policy_maker(username: str) -> str:
    try:
        user = user_named(username)
        if not makes_policy(user):
            raise CommandError(f"{username} is inactive, or not in the group {POLICY_MAKERS}")
    except DatabaseError:
        raise CommandError("The database is away: nobody can tell who that is.") from None
    return user.get_username()


def _policy_of(file: str) -> Policy:
    try:
        if file == "-":
            content = sys.stdin.buffer.read(LARGEST_FILE + 1)
        else:
            with Path(file).open("rb") as opened:
                content = opened.read(LARGEST_FILE + 1)
        return policy_in(content)
    except OSError as error:
        raise CommandError(f"{_called(file)} cannot be read: {error.strerror}") from None
    except NoPolicy as problem:
        lines = "\n".join(problem.problems)
        raise CommandError(f"{_called(file)} holds no policy:\n{lines}") from None


def _called(file: str) -> str:
    return "standard input" if file == "-" else file


def _version(lowest: int) -> Callable[[str], int]:
    def version(text: str) -> int:
        if re.fullmatch("[0-9]{1,9}", text) and int(text) >= lowest:
            return int(text)
        raise ArgumentTypeError(f"{text!r} is not the number of a version")

    return version


def _moment(text: str) -> datetime:
    if at := local_moment_in(text):
        return at
    raise ArgumentTypeError(f"{text!r} is not a time such as 2027-01-04T09:00")
