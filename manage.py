#!/usr/bin/env python
"""Django's command line, with lepret's own commands, such as demo and project."""

import os
import sys

from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line
from django.db import Error

from lepret.common.databases import is_away


def main() -> None:
    """Run a command. Bad settings, or a database that is away, are one line.

    No stack trace would say more.
    """
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lepret.settings")
    try:
        execute_from_command_line(sys.argv)
    except Error as error:
        if "--traceback" in sys.argv or not is_away(error):
            raise
        sys.exit(f"The database does not answer: {type(error).__qualname__}")
    except ImproperlyConfigured as error:
        if "--traceback" in sys.argv:
            raise
        sys.exit(str(error))


if __name__ == "__main__":
    main()
