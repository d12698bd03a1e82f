"""`manage.py projections`: the status of each projection, for people and for health checks."""

from __future__ import annotations

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Collection, Iterable
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError, DjangoHelpFormatter
from django.db import InterfaceError, OperationalError

from lepret.common.event_store_client import close_event_store_client
from readmodels.management.common import add_names, named
from readmodels.models import SkippedEvent
from readmodels.monitoring.report import as_json, print_tables
from readmodels.monitoring.status import ProjectionStatus, read_statuses

DEFAULT_MAX_LAG_SECONDS: Final = 60.0

_HELP: Final = """\
Show the status of each projection. The exit status is 1 if one is stopped, not built, or further
behind than --max-lag, if its rows come from another event store, or if its lag is unknown since the
event store does not answer; stderr says which.

--json prints a list with one object for each projection:
  name, state     the state is stopped, store replaced, waiting for a newer version, rebuilding,
                  not built, new version waiting, unknown, behind or level
  version         the version that built the rows; null if there are none
  code_version    the version of this program
  position        the commit position of the last event that was applied
  store_position  that of the last event in the store; null if the store does not answer
  lag_seconds     the age of the oldest event that is still to be applied; null if unknown
  lag_events      how many events are still to be applied; null if unknown
  lag_events_is_at_least
                  true if there may be more than were counted
  events, events_per_second
                  events applied since the table was empty, and how fast now
  moved_at        when the last were applied
  failure         why it is stopped: error, event_type, event_id, position, attempts, failed_at;
                  null if it is not
  waiting         the same for an event that only a projector of a newer version can read
  rebuild         a table being built beside it: version, position, share (0 to 1), events,
                  events_per_second, began_at, failure; null if there is none
With --skipped each object also has:
  skipped         skipped events: position, event_id, event_type, error, why, skipped_by,
                  skipped_at
"""


class _HelpFormatter(RawDescriptionHelpFormatter, DjangoHelpFormatter):
    """Keeps the line breaks of the list of keys."""


class Command(BaseCommand):
    help = _HELP

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> Any:
        return super().create_parser(
            prog_name, subcommand, formatter_class=_HelpFormatter, **kwargs
        )

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_names(parser)
        parser.add_argument("--json", action="store_true", help="one object for each projection")
        parser.add_argument("--skipped", action="store_true", help="list skipped events, too")
        parser.add_argument(
            "--max-lag",
            type=float,
            default=DEFAULT_MAX_LAG_SECONDS,
            metavar="SECONDS",
            help="how far behind is too far (default: %(default)g)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        names = [each.name for each in named(options["names"])]
        try:
            statuses = list(read_statuses(names).values())
            skipped = _skipped_events(names) if options["skipped"] else None
        except (OperationalError, InterfaceError) as error:
            raise CommandError(
                f"The database does not answer: {type(error).__qualname__}"
            ) from None
        finally:
            close_event_store_client()
        if options["json"]:
            self.stdout.write(as_json(statuses, skipped))
        else:
            print_tables(statuses, skipped, self.stdout)
        _fail_where_in_trouble(statuses, options["max_lag"])


def _skipped_events(names: Collection[str]) -> list[SkippedEvent]:
    return list(SkippedEvent.objects.filter(name__in=names).order_by("name", "position"))


def _fail_where_in_trouble(statuses: Iterable[ProjectionStatus], max_lag_seconds: float) -> None:
    troubles = [
        f"{each.name}: {trouble}" for each in statuses if (trouble := each.trouble(max_lag_seconds))
    ]
    if troubles:
        raise CommandError("; ".join(troubles))
