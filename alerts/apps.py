from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class AlertsConfig(AppConfig):
    name = "alerts"
    label = "alerts"
    verbose_name = _("Alerts")

    def ready(self) -> None:
        from alerts import receivers, topics  # noqa: F401  (connects and declares them)
