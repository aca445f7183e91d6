"""The account that `manage.py up` makes, so that the first sign-in needs no command."""

from __future__ import annotations

from portal.accounts.models import User


def ensure_demo_account(username: str, password: str) -> User:
    """The staff account `username`, made when missing; signed-in sessions survive while `password` still fits.

    May run at every start. An account that somebody switched off stays off.
    """
    person, made = User.objects.get_or_create(
        username=username, defaults={"first_name": "Demo", "is_staff": True, "is_superuser": True}
    )
    if made or not person.check_password(password):
        person.set_password(password)
        person.save(update_fields=["password"])
    return person
