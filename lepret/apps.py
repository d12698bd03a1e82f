"""The Django app of the project itself: groups of staff, sessions, API tokens, system checks."""

from __future__ import annotations

from importlib import import_module

from django.apps import AppConfig


class LepretConfig(AppConfig):
    name = "lepret"

    def ready(self) -> None:
        import_module("lepret.checks")
        # Their signals.
        import_module("lepret.staff.sessions")
        import_module("lepret.staff.logins")
