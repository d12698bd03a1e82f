"""Where sessions are stored: in the database, as Django does, with a column for the user.

The database's clock says when they have expired: by its own, a web server whose clock is ahead
would delete everybody's.

See Django's documentation, *Extending database-backed session engines*.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore as DatabaseStore

from lepret.common.database_clock import database_time
from lepret.models import StaffSession


class SessionStore(DatabaseStore):
    @classmethod
    def get_model_class(cls) -> type[StaffSession]:
        return StaffSession

    def get_expiry_date(self, **kwargs: Any) -> datetime:
        return super().get_expiry_date(**{"modification": database_time(), **kwargs})

    def _get_session_from_db(self) -> StaffSession | None:
        row: StaffSession | None = StaffSession.objects.filter(
            session_key=self.session_key, expire_date__gt=database_time()
        ).first()
        if row is None:
            self._session_key = None
        return row

    @classmethod
    def clear_expired(cls) -> None:
        cls.get_model_class().objects.filter(expire_date__lt=database_time()).delete()

    def create_model_instance(self, data: dict[str, Any]) -> StaffSession:
        row = super().create_model_instance(data)
        assert isinstance(row, StaffSession)
        row.user_id = int(data[SESSION_KEY]) if SESSION_KEY in data else None
        return row
