from __future__ import annotations

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class MonitoringConfig(AppConfig):
    name = "monitoring"
    label = "monitoring"

    def ready(self) -> None:
        from monitoring import receivers, topics  # noqa: F401  (connects and declares them)
        from monitoring.catalogue import sync_catalogue

        post_migrate.connect(sync_catalogue, sender=self)
