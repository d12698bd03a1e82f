"""What the commands about projections have in common."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Sequence

from django.core.management.base import CommandError

from lepret.common.event_store_client import why_refused
from readmodels.projections import PROJECTIONS, Projection


def add_names(parser: ArgumentParser) -> None:
    """Add an argument for names of projections."""
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"a projection: {', '.join(PROJECTIONS)}; all if none is named",
    )


def away(error: Exception) -> CommandError:
    """What a command ends with when database or event store are away, or refuse to answer."""
    why = why_refused(error) or f"Database or event store away: {type(error).__qualname__}"
    return CommandError(why)


def named(names: Sequence[str]) -> list[Projection]:
    """The projections with these names, or all if none is given.

    Raises:
        CommandError: there is no such projection.
    """
    unknown = set(names) - PROJECTIONS.keys()
    if unknown:
        known = ", ".join(PROJECTIONS)
        raise CommandError(f"No projection {', '.join(sorted(unknown))}. There are: {known}.")
    return [PROJECTIONS[name] for name in dict.fromkeys(names or PROJECTIONS)]
