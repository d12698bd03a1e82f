"""The API's router."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ninja


class Router(ninja.Router):
    """Takes HEAD wherever GET is taken (RFC 9110, section 9.1). The web server sends no body."""

    def add_api_operation(
        self, path: str, methods: list[str], view_func: Callable[..., Any], **options: Any
    ) -> None:
        also = ["HEAD"] if "GET" in methods else []
        super().add_api_operation(path, [*methods, *also], view_func, **options)
