"""The project's application, and beside it a view that only inserts one row.

For `requests.py`, which compares the form and the API with it on the same server: behind the same
middleware, into the same database, with a CSRF token like the form and without one like the API.
It is served in two ways: as Django hands requests over to threads, and as the project does.
"""

from __future__ import annotations

from typing import Any, Final
from uuid import uuid4

# First, because it sets Django up.
from lepret.asgi import application as project

# isort: split
from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIHandler
from django.db import connection, models
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from lepret.common.answer_headers import headers_on_every_answer
from lepret.urls import urlpatterns

_BY_DJANGO: Final = "/benchmark/by-django/"


class DjangosHandler(ASGIHandler):
    """Django's handler: a new thread for each request, and three times over to it.

    All middleware is in one of them, as in the project's; otherwise it would be slower still.
    """

    def load_middleware(self, is_async: bool = False) -> None:
        super().load_middleware(is_async=False)

    async def get_response_async(self, request: HttpRequest) -> HttpResponseBase:
        return await sync_to_async(self.get_response)(request)


_by_django = headers_on_every_answer(DjangosHandler())


async def application(scope: Any, receive: Any, send: Any) -> None:
    """The project's application, but for the addresses that Django's handler is to serve."""
    is_for_django = scope["type"] == "http" and scope["path"].startswith(_BY_DJANGO)
    await (_by_django if is_for_django else project)(scope, receive, send)


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


urlpatterns += [
    path("benchmark/by-django/insert/", csrf_exempt(insert)),
    path("benchmark/by-django/checked-insert/", insert),
    path("benchmark/insert/", csrf_exempt(insert)),
]
_make_table()
