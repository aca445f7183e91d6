from __future__ import annotations

from django.apps import AppConfig


class ToolkitConfig(AppConfig):
    name = "portal.toolkit"
    label = "toolkit"

    def ready(self) -> None:
        from portal.toolkit.live import control  # noqa: F401  (closes sockets when a person signs out)
