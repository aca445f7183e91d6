from __future__ import annotations

from django.apps import AppConfig
from django.db.models.signals import post_migrate
from django.utils.translation import gettext_lazy as _


class MonitoringConfig(AppConfig):
    name = "monitoring"
    label = "monitoring"
    verbose_name = _("Monitoring")

    def ready(self) -> None:
        from monitoring import receivers, topics  # noqa: F401  (connects and declares them)
        from monitoring.catalogue import sync_catalogue

        post_migrate.connect(sync_catalogue, sender=self)
