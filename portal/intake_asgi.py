"""The intake as a process of its own: nothing but what programs send, so that no page waits for it."""

from __future__ import annotations

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
django.setup()

from monitoring.ingest.doors import intake  # noqa: E402  (models can be imported only after the line above)

application = intake()
