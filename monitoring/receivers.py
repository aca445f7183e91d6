"""What must reach open sockets at once when a membership changes."""

from __future__ import annotations

from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver

from monitoring.models import Membership
from portal.toolkit.live.control import recheck_user


@receiver([post_save, post_delete], sender=Membership)
def on_membership_changed(instance: Membership, **_signal: object) -> None:
    """Whoever joined, left or was promoted or demoted gets what they may see now, and nothing else."""
    recheck_user(instance.user_id)
