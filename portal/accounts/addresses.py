"""The one address of a person: what allauth knows of it is kept in step with `User.email`.

Only a verified one is mailed about alerts.
"""

from __future__ import annotations

from dataclasses import dataclass

from allauth.account.models import EmailAddress

from alerts.models import Bounce
from portal.accounts.models import User


@dataclass(frozen=True, slots=True)
class AddressState:
    """`refused` is what the mail server last said of it, "" while it takes mail."""

    address: str
    verified: bool
    refused: str


def state_of(person: User) -> AddressState:
    """Two queries, none without an address."""
    if not person.email:
        return AddressState("", False, "")
    verified = EmailAddress.objects.filter(user=person, email__iexact=person.email, verified=True).exists()
    bounce = Bounce.objects.filter(address__iexact=person.email).first()
    return AddressState(person.email, verified, bounce.answer if bounce else "")


def keep_in_step(person: User) -> None:
    """After `email` changed: the address is known and primary, verified only if they had verified it themselves.

    Others go: the old one would still sign in and still get the mail that sets a new password.
    """
    EmailAddress.objects.filter(user=person).exclude(email__iexact=person.email).delete()
    if person.email and not EmailAddress.objects.filter(user=person).update(primary=True):
        EmailAddress.objects.create(user=person, email=person.email.lower(), primary=True, verified=False)


def confirm(person: User) -> bool:
    """Take an admin's word that the address is theirs. False without an address, or when another person has it."""
    if not person.email:
        return False
    keep_in_step(person)
    return bool(EmailAddress.objects.get(user=person).set_verified())
