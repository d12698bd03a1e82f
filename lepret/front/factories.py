"""Puts the front in the place of what daphne has."""

from __future__ import annotations

from daphne import server

from lepret.front.http import HTTPFactory
from lepret.front.websockets import WebSocketFactory


def install() -> None:
    """Have every daphne server that this process starts from now on use the front.

    However daphne is started, it imports the application first, and then makes these factories.
    """
    server.HTTPFactory = HTTPFactory
    server.WebSocketFactory = WebSocketFactory
