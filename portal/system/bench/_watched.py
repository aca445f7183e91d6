"""Servers with limits and people on call for them, made in a running portal for a measurement."""

from __future__ import annotations

from collections.abc import Sequence

from allauth.account.models import EmailAddress
from django.db import transaction
from django.utils import timezone

from alerts.models import Rota, RotaMember, Scope, Threshold
from monitoring.models import Membership, Metric, Role, Server, ServerGroup
from portal.accounts.models import User

LIMIT = 50.0
NO_DATA_AFTER_S = 1_200
LANGUAGES = ("en", "ko")


@transaction.atomic
def make_watched(name: str, servers: int, metrics: Sequence[str], people: int) -> list[int]:
    """The ids of `servers` new servers of the new group `name`: above `LIMIT` each of `metrics` is critical at once,
    and so is silence of `NO_DATA_AFTER_S`: that must not happen, whatever the clock says.

    `people` are on call for them, all at the same time, by turns in English and Korean, at <name>-<n>@example.test.
    """
    group = ServerGroup.objects.create(name=name)
    made = Server.objects.bulk_create(Server(name=f"{name}-{number:03d}", group=group) for number in range(servers))
    for metric_name in metrics:
        metric, _ = Metric.objects.get_or_create(name=metric_name)
        Threshold.objects.create(
            metric=metric, scope=Scope.GROUP, group=group, critical=LIMIT, no_data_after_s=NO_DATA_AFTER_S
        )
    rota = Rota.objects.create(group=group, starts_on=timezone.now().date())
    for number in range(people):
        person = _person(name, number)
        Membership.objects.create(user=person, group=group, role=Role.OPERATOR)
        RotaMember.objects.create(rota=rota, person=person, position=number)
    return [server.pk for server in made]


def _person(name: str, number: int) -> User:
    address = f"{name}-{number}@example.test"
    language = LANGUAGES[number % len(LANGUAGES)]
    person = User.objects.create(username=f"{name}-{number}", email=address, language=language)
    EmailAddress.objects.create(user=person, email=address, verified=True, primary=True)
    return person
