"""Housekeeping of the portal itself."""

from __future__ import annotations

from celery import shared_task
from django.core.management import call_command


@shared_task  # type: ignore[untyped-decorator]
def forget_sessions_task() -> None:
    """Sessions that have ended leave the database; nothing else removes those whose cookie never comes back."""
    call_command("clearsessions")
