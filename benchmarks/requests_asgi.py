"""The project's application, and beside it a view that only inserts one row.

For `requests.py`, which compares the form and the API with it on the same server: behind the same
middleware, into the same database, with a CSRF token like the form and without one like the API.
"""

from __future__ import annotations

from uuid import uuid4

# First, because it sets Django up.
from lepret.asgi import application

# isort: split
from django.db import connection, models
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from lepret.urls import urlpatterns


class InsertedRow(models.Model):
    """As much data as an applicant sends, in a table of its own, which needs no migration."""

    id = models.UUIDField(primary_key=True, default=uuid4)
    name = models.CharField(max_length=200)
    national_id = models.CharField(max_length=8)
    amount = models.BigIntegerField()

    class Meta:
        app_label = "benchmarks"


@require_POST
def insert(request: HttpRequest) -> HttpResponse:
    """Insert one row in a transaction."""
    InsertedRow._default_manager.create(name="Ann Example", national_id="555555aa", amount=5000)
    return HttpResponse(status=201)


def _make_table() -> None:
    if InsertedRow._meta.db_table not in connection.introspection.table_names():
        with connection.schema_editor() as editor:
            editor.create_model(InsertedRow)
    connection.close()


__all__ = ["application"]

urlpatterns += [
    path("benchmark/insert/", csrf_exempt(insert)),
    path("benchmark/checked-insert/", insert),
]
_make_table()
