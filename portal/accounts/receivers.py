"""What must reach open sockets at once when a person or one of their sessions changes."""

from __future__ import annotations

from collections.abc import Collection

from allauth.usersessions.models import UserSession
from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver

from portal.accounts.models import User
from portal.toolkit.live.control import close_session, recheck_user

RIGHTS = {"is_active", "is_superuser", "password"}
"""The fields of a person on which an open socket depends."""


@receiver(post_save, sender=User)
def on_person_saved(instance: User, created: bool, update_fields: Collection[str] | None, **_signal: object) -> None:
    if not created and (update_fields is None or RIGHTS & set(update_fields)):
        recheck_user(instance.pk)


@receiver(post_delete, sender=User)
def on_person_deleted(instance: User, **_signal: object) -> None:
    recheck_user(instance.pk)


@receiver(post_delete, sender=UserSession)
def on_session_ended(instance: UserSession, **_signal: object) -> None:
    """Signed out from another browser, or by an admin."""
    close_session(instance.session_key)
