"""The account that `manage.py up` makes, so that the first sign-in needs no command."""

from __future__ import annotations

from portal.accounts import addresses
from portal.accounts.models import User

ADDRESS = "demo@localhost"
"""What the local mail server takes; its mail is in <data>/mail."""


def ensure_demo_account(username: str, password: str) -> User:
    """The staff account `username`, made when missing; signed-in sessions survive while `password` still fits.

    May run at every start. An account that somebody switched off stays off; its address, verified from the start, is
    never put back.
    """
    person, made = User.objects.get_or_create(
        username=username, defaults={"first_name": "Demo", "email": ADDRESS, "is_staff": True, "is_superuser": True}
    )
    if made:
        addresses.confirm(person)
    if made or not person.check_password(password):
        person.set_password(password)
        person.save(update_fields=["password"])
    return person
