"""Serves static files in few pieces."""

from __future__ import annotations

from typing import Any, Final

from django.http import FileResponse, HttpRequest
from whitenoise.middleware import WhiteNoiseMiddleware

# Django's is 4 kB. The server would handle hundreds of pieces of a file one by one, and memory for
# pieces this large goes back to the operating system when they have been sent.
_BYTES_AT_ONCE: Final = 256 * 1024


class StaticFiles(WhiteNoiseMiddleware):
    """Whitenoise, with larger pieces."""

    @staticmethod
    def serve(static_file: Any, request: HttpRequest) -> FileResponse:
        response: FileResponse = WhiteNoiseMiddleware.serve(static_file, request)
        response.block_size = _BYTES_AT_ONCE
        return response
