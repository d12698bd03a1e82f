"""Where sessions are stored: in the database, as Django does, with a column for the user.

See Django's documentation, *Extending database-backed session engines*.
"""

from __future__ import annotations

from typing import Any

from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore as DatabaseStore

from lepret.models import StaffSession


class SessionStore(DatabaseStore):
    @classmethod
    def get_model_class(cls) -> type[StaffSession]:
        return StaffSession

    def create_model_instance(self, data: dict[str, Any]) -> StaffSession:
        row = super().create_model_instance(data)
        assert isinstance(row, StaffSession)
        row.user_id = int(data[SESSION_KEY]) if SESSION_KEY in data else None
        return row
