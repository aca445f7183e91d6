"""What programs send to the intake, other HTTP to Django, of which streams go on without it; websockets to the one live
socket with the same session."""

from __future__ import annotations

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
http = get_asgi_application()

from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402  (models only after the line above)
from channels.sessions import CookieMiddleware  # noqa: E402
from django.urls import path  # noqa: E402

from monitoring.api.live import STREAM  # noqa: E402
from monitoring.ingest.doors import intake  # noqa: E402
from portal.toolkit.live.door import StreamDoor  # noqa: E402
from portal.toolkit.live.limits import seated  # noqa: E402
from portal.toolkit.live.origin import own_pages_only  # noqa: E402
from portal.toolkit.live.sign_in import signed_in  # noqa: E402
from portal.toolkit.live.socket import LiveSocket, later_when_database_is_away  # noqa: E402

sockets = URLRouter([path("ws/live/", LiveSocket.as_asgi())])  # type: ignore[arg-type]
application = ProtocolTypeRouter(
    {
        "http": intake(otherwise=StreamDoor(http, STREAM)),  # type: ignore[arg-type]
        "websocket": own_pages_only(seated(later_when_database_is_away(CookieMiddleware(signed_in(sockets))))),
    }
)
