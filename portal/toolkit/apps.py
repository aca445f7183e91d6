from __future__ import annotations

from django.apps import AppConfig


class ToolkitConfig(AppConfig):
    name = "portal.toolkit"
    label = "toolkit"
