"""`manage.py runserver`: daphne's, which serves websockets.

Daphne as an installed app would have it, too; but then every other command loads Twisted, which
takes a fourth of its start and 20 MB.
"""

from daphne.management.commands.runserver import Command

__all__ = ["Command"]
