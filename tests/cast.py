"""The people of permission tests, each with their role in one group, and the stranger of another."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from allauth.account.models import EmailAddress
from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.test import Client

from monitoring.models import Membership, Role, Server, ServerGroup
from portal.accounts.models import User

PASSWORD = "correct horse battery staple"


@dataclass(frozen=True)
class Cast:
    """`owner` (admin), `operator` and `reader` (viewer) are members of `group`; `stranger` of `elsewhere` only."""

    group: ServerGroup
    elsewhere: ServerGroup
    server: Server
    owner: User
    operator: User
    reader: User
    stranger: User
    superuser: User

    def by_name(self) -> dict[str, User]:
        return {
            "stranger": self.stranger,
            "reader": self.reader,
            "operator": self.operator,
            "owner": self.owner,
            "superuser": self.superuser,
        }


def make_cast() -> Cast:
    group = ServerGroup.objects.create(name="Web shop")
    elsewhere = ServerGroup.objects.create(name="Elsewhere")
    return Cast(
        group=group,
        elsewhere=elsewhere,
        server=Server.objects.create(name="shop-web-1", group=group, description="the-private-note"),
        owner=member("owner", group, Role.ADMIN),
        operator=member("operator", group, Role.OPERATOR),
        reader=member("reader", group, Role.VIEWER),
        stranger=member("stranger", elsewhere, Role.ADMIN),
        superuser=person("superuser", is_staff=True, is_superuser=True),
    )


def person(username: str, **fields: object) -> User:
    """Someone with PASSWORD and an e-mail address of their own."""
    user = User(
        username=username, email=f"{username}@example.org", password=_hashed(settings.PASSWORD_HASHERS[0]), **fields
    )
    user.save()
    EmailAddress.objects.create(user=user, email=user.email, primary=True, verified=True)
    return user


@cache
def _hashed(preferred_hasher: str) -> str:
    """Once a process and hasher: it takes 0.3 s by design."""
    return make_password(PASSWORD)


def member(username: str, group: ServerGroup, role: Role) -> User:
    user = person(username)
    Membership.objects.create(user=user, group=group, role=role)
    return user


def sign_in(user: User | None) -> Client:
    """A browser in which `user` is signed in; None = nobody. Errors of views are answered, as on a real server."""
    client = Client(raise_request_exception=False)
    if user is not None:
        client.force_login(user)
    return client
