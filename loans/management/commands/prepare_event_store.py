"""`manage.py prepare_event_store`: makes the workers' groups, and says who needs which right."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from esdbclient.connection_spec import ConnectionSpec
from esdbclient.exceptions import EventStoreDBClientException

from lepret.common.event_store_connection import SharedClient
from lepret.deployment.event_store_users import let_read_all
from lepret.environment import only_line_of
from loans.management.common import errors_explained
from loans.workers.credit_checks import CREDIT_CHECKS
from loans.workers.groups import CALL_TIMEOUT_SECONDS, is_refused
from loans.workers.losses import LOSSES, RESERVATION_LOSSES
from loans.workers.reservation_releases import LAPSES, RELEASES

GROUPS: Final = (CREDIT_CHECKS, RELEASES, LAPSES, RESERVATION_LOSSES, LOSSES)

# What an operator types. curl asks for the admin's password.
_USER: Final = {
    "loginName": "ops-of-lepret",
    "fullName": "lepret",
    "groups": ["$ops"],
    "password": "…",
}
_RIGHTS: Final = """
The users of web, projector and workers need $r on $all. Only the user of this command, and of
--replay-parked, must be in $ops. An admin lets users read $all with

  python manage.py prepare_event_store --admin-uri-file FILE --user {users}

(FILE holds the event store's URI with the admin's name and password), or with this, if the store
has EnableAtomPubOverHttp; name all who may read $all, also those who may already:

  {curl}/streams/%24all/metadata --header "ES-EventId: $(uuidgen)" --json '{metadata}'

This makes a user, here with {user} in FILE one for this command:

  {curl}/users/ --json @FILE
"""


class Command(BaseCommand):
    help = (
        "Make the groups by which workers share events, or bring them to this version's settings. "
        "Where the event store has users, that takes a member of $ops; the workers' user need not "
        "be one then. Groups that are as they should be are left alone: it may run at any time. It "
        "prints the rights that web, projector and workers need; an admin gives them, too."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--admin-uri-file",
            type=Path,
            metavar="FILE",
            help="a file with one line, the event store's URI with an admin's name and password: "
            "do it as that admin, and let --user read $all",
        )
        parser.add_argument(
            "--user",
            nargs="+",
            metavar="NAME",
            help="the users of web, projector and workers (default: the one in EVENTSTORE_URI)",
        )
        parser.add_argument("--groups-only", action="store_true", help="leave rights alone")
        parser.add_argument(
            "--delete-old-groups",
            action="store_true",
            help="delete the groups that other versions have left, none of which may still run",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        ours = _spec(settings.EVENTSTORE_URI)
        admins_file = options["admin_uri_file"]
        spec = _spec(_line_of(admins_file)) if admins_file else ours
        is_about_rights = bool(spec.username) and not options["groups_only"]
        try:
            with _connected(spec) as client:
                self._make_groups(client, delete_old=options["delete_old_groups"])
                if is_about_rights and admins_file:
                    self._let_read_all(
                        client, options["user"] or list(filter(None, [ours.username]))
                    )
        finally:
            # If something was refused, these are the remedy.
            if is_about_rights and not admins_file:
                self.stdout.write(_rights(ours, options["user"] or ["NAME"]))

    def _make_groups(self, client: SharedClient, *, delete_old: bool) -> None:
        for group in GROUPS:
            self.stdout.write(f"{group.name}: {group.prepare(client)}")
            for old in group.of_other_versions(client):
                whose = f"another version's, with {old.parked_message_count} parked"
                if delete_old:
                    client.delete_subscription(old.group_name, timeout=CALL_TIMEOUT_SECONDS)
                fate = "deleted" if delete_old else "left: see --delete-old-groups"
                self.stdout.write(f"{old.group_name} ({whose}): {fate}")

    def _let_read_all(self, client: SharedClient, users: Sequence[str]) -> None:
        try:
            new = let_read_all(client, users)
        except EventStoreDBClientException as error:
            if not is_refused(error):
                raise
            name = client.connection_spec.username
            raise CommandError(
                f"{name} may not give rights: only members of $admins may."
            ) from None
        for user in users:
            self.stdout.write(f"{user}: may {'now' if user in new else 'already'} read $all")


@contextmanager
def _connected(spec: ConnectionSpec) -> Iterator[SharedClient]:
    with errors_explained(spec), closing(SharedClient(spec.uri)) as client:
        yield client


def _line_of(file: Path) -> str:
    try:
        return only_line_of(file)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CommandError(f"{file} does not hold the event store's URI ({reason}).") from None


def _spec(uri: str) -> ConnectionSpec:
    try:
        return ConnectionSpec(uri)
    except ValueError:
        # Its message has the whole URI, with the password.
        raise CommandError(
            "That is no event store's URI: compare EVENTSTORE_URI in docs/operations.md."
        ) from None


def _rights(ours: ConnectionSpec, users: Sequence[str]) -> str:
    host, authority = ours.targets[0], ours.options.TlsCaFile
    return _RIGHTS.format(
        users=" ".join(users),
        curl=f"curl --user admin{f' --cacert {authority}' if authority else ''} https://{host}",
        metadata=json.dumps({"$acl": {"$r": ["$admins", *users]}}),
        user=json.dumps(_USER, ensure_ascii=False),
    )
