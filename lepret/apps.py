"""The project as a Django app, for what it has of its own: groups, tokens, checks."""

from __future__ import annotations

from importlib import import_module

from django.apps import AppConfig


class LepretConfig(AppConfig):
    name = "lepret"

    def ready(self) -> None:
        import_module("lepret.checks")
