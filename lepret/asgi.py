"""What the web server serves: HTTP through Django, websockets through Channels."""

from __future__ import annotations

import os

import django
from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lepret.settings")
# First, because without it what follows cannot be imported.
django.setup(set_prefix=False)

from lepret.handlers import OneThreadHandler, collect_garbage_less_often  # noqa: E402
from readmodels.urls import websocket_urlpatterns  # noqa: E402

application = ProtocolTypeRouter(
    {
        "http": OneThreadHandler(),
        "websocket": AllowedHostsOriginValidator(
            AuthMiddlewareStack(URLRouter(websocket_urlpatterns))
        ),
    }
)


collect_garbage_less_often()
