"""What Channels' tutorial shows, as the base line of `fanout`: a consumer per socket, each in a group of its own.

A message is serialised and published once for each consumer, goes through Redis, is put into a queue, deserialised and
dispatched.
"""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import parse_qs

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
http = get_asgi_application()

from channels.auth import AuthMiddlewareStack  # noqa: E402
from channels.generic.websocket import AsyncWebsocketConsumer  # noqa: E402
from channels.routing import ProtocolTypeRouter  # noqa: E402
from channels.security.websocket import AllowedHostsOriginValidator  # noqa: E402


class PersonConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]
    async def connect(self) -> None:
        self.group = f"person-{parse_qs(self.scope['query_string'].decode())['person'][0]}"
        await self.channel_layer.group_add(self.group, self.channel_name)
        await self.accept()
        await self.send(text_data='<article data-at="1">welcome</article>')

    async def disconnect(self, code: int) -> None:
        await self.channel_layer.group_discard(self.group, self.channel_name)

    async def cards_changed(self, event: dict[str, Any]) -> None:
        await self.send(text_data=event["html"])


application = ProtocolTypeRouter(
    {"http": http, "websocket": AllowedHostsOriginValidator(AuthMiddlewareStack(PersonConsumer.as_asgi()))}
)
