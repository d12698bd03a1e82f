"""The Django app of the read side."""

from __future__ import annotations

from django.apps import AppConfig


class ReadModelsConfig(AppConfig):
    name = "readmodels"
    verbose_name = "Loans"  # In admin.
