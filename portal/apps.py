from __future__ import annotations

from django.apps import AppConfig


class PortalConfig(AppConfig):
    name = "portal"
    label = "portal"

    def ready(self) -> None:
        # Here and not in portal/__init__.py: that is imported by bootstrap.py, before there is a Celery.
        from portal import celery, checks  # noqa: F401  (checks register themselves)
