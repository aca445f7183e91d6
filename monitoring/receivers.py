"""What must reach open sockets at once when a membership changes, and what a source or a server leaves behind."""

from __future__ import annotations

from django.db.models.signals import post_delete, post_save, pre_delete
from django.dispatch import receiver
from django.utils import timezone

from monitoring.collectors import found
from monitoring.ingest import tokens
from monitoring.models import Membership, Server, Source
from portal.toolkit.live.control import recheck_user


@receiver([post_save, post_delete], sender=Membership)
def on_membership_changed(instance: Membership, **_signal: object) -> None:
    """Whoever joined, left or was promoted or demoted gets what they may see now, and nothing else."""
    recheck_user(instance.user_id)


@receiver(pre_delete, sender=Source)
def on_source_deleted(instance: Source, **_signal: object) -> None:
    """Also when its server is deleted: nobody asks about what it found any more, and that is no failure of theirs."""
    found.leave(instance, timezone.now())


@receiver(pre_delete, sender=Server)
def on_server_deleted(instance: Server, **_signal: object) -> None:
    tokens.leave_server(instance.pk)
