"""The Celery application. `fast` collects, evaluates and delivers; `bulk` seals, replays, imports and exports."""

from __future__ import annotations

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")

app = Celery("openmanager")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
