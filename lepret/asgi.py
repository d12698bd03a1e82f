"""What the web server serves: HTTP through Django, websockets through Channels."""

from __future__ import annotations

import os
import sys
from typing import Any, Final, cast

import django
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.sessions import CookieMiddleware
from django.urls import re_path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lepret.settings")
# Before the imports below, which need Django's apps.
django.setup(set_prefix=False)

from lepret.common.answer_headers import headers_on_every_answer  # noqa: E402
from lepret.common.databases import wait_no_longer_than  # noqa: E402
from lepret.common.memory import prepare_memory  # noqa: E402
from lepret.common.one_thread_handler import OneThreadHandler  # noqa: E402
from lepret.common.origins import FromHereOnly, refuse  # noqa: E402
from lepret.front import factories  # noqa: E402
from readmodels.urls import websocket_urlpatterns  # noqa: E402

# How long a thread may go on while others want to, in seconds, which is 0.005 by default. A request
# goes back and forth between the event loop and its thread, and waits each time for another's.
_SWITCH_AFTER: Final = 0.001
# How long a request waits for a database that is silent, in seconds; the slowest search takes less.
_LONGEST_WAIT: Final = 10.0

# Channels answers a path without a route with a 500.
_no_such_websocket = re_path("", cast(Any, refuse))

application = ProtocolTypeRouter(
    {
        "http": headers_on_every_answer(OneThreadHandler()),
        "websocket": FromHereOnly(
            CookieMiddleware(URLRouter([*websocket_urlpatterns, _no_such_websocket]))
        ),
    }
)

factories.install()
wait_no_longer_than(_LONGEST_WAIT)
sys.setswitchinterval(_SWITCH_AFTER)
prepare_memory()
