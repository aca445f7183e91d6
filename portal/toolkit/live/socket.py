"""The one live socket."""

from __future__ import annotations

from channels.generic.websocket import AsyncWebsocketConsumer


class LiveSocket(AsyncWebsocketConsumer):  # type: ignore[misc]
    """Replaced by the live room."""
