"""What of monitoring changes on a screen. A pushed fragment is what the page would show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from django.contrib.auth.models import AbstractBaseUser
from django.template.loader import render_to_string

from monitoring import hot
from monitoring.access import audience_of, servers_for
from monitoring.cards import card_html
from monitoring.models import Server, ServerState
from monitoring.queries.cards import server_cards
from monitoring.queries.fleet import fleet_totals
from monitoring.queries.log_cursor import OF_SERVER, cursor_html
from monitoring.queries.server import vitals
from monitoring.queries.updates import server_updates, system_update
from portal.toolkit.any_of import AnyOf
from portal.toolkit.live.topic import Data, Topic, register

MOST_SERVERS = 10_000
"""What a program hears of that names no servers: so many, the worst first."""


def _visible(user: AbstractBaseUser, keys: Sequence[str]) -> dict[str, str]:
    """Those of `keys` that are ids of servers which `user` may see, each with the id as it is written. One query."""
    asked = {int(key): key for key in keys if key.isascii() and key.isdecimal() and len(key) < 18}
    visible = servers_for(user).filter(AnyOf("pk", asked)).order_by().values_list("pk", flat=True)  # type: ignore[arg-type]
    return {asked[pk]: str(pk) for pk in visible}


class _PerServer(Topic):
    """A topic whose key is a server's id: whoever may see the server may watch it."""

    def admit(self, user: AbstractBaseUser, key: str) -> str | None:
        return self.admit_many(user, [key]).get(key)

    def admit_many(self, user: AbstractBaseUser, keys: Sequence[str]) -> dict[str, str]:
        """One query for all keys."""
        return _visible(user, keys)


class ServerTopic(_PerServer):
    """A server's card; for programs its newest values."""

    name = "server"
    event = "server_update"
    prompt = ("name", "status")

    def render(self, keys: Sequence[str], language: str) -> dict[str, str]:
        return {str(pk): card_html(card) for pk, card in server_cards([int(key) for key in keys]).items()}

    def urgent(self, keys: Sequence[str]) -> frozenset[str]:
        """Those in a critical state."""
        critical = Server.objects.filter(AnyOf("pk", map(int, keys)), state=ServerState.CRITICAL).order_by()
        return frozenset(map(str, critical.values_list("pk", flat=True)))

    def data(self, keys: Sequence[str]) -> Mapping[str, Data]:
        return {str(pk): update for pk, update in server_updates([int(key) for key in keys]).items()}

    def every_key(self, user: AbstractBaseUser) -> list[str]:
        servers = servers_for(user).order_by("state_rank", "simulated", "name")  # type: ignore[arg-type]
        return [str(pk) for pk in servers.values_list("pk", flat=True)[:MOST_SERVERS]]


class VitalsTopic(_PerServer):
    """The head of a server's page."""

    name = "vitals"

    def render(self, keys: Sequence[str], language: str) -> dict[str, str]:
        heads = vitals([int(key) for key in keys])
        return {str(pk): render_to_string("monitoring/_vitals.html", {"vitals": head}) for pk, head in heads.items()}


class SamplesTopic(_PerServer):
    """A stream: how far the samples go. Charts fetch what came after their last one."""

    name = "samples"

    def render(self, keys: Sequence[str], language: str) -> dict[str, str]:
        known = list(Server.objects.filter(pk__in=[int(key) for key in keys]).order_by().values_list("pk", flat=True))
        newest = hot.newest_at(known)
        contexts = {str(pk): {"server_id": pk, "at_ms": newest.get(pk, 0)} for pk in known}
        return {key: render_to_string("monitoring/_samples.html", context) for key, context in contexts.items()}


class FleetTopic(Topic):
    """The totals; the key is the audience."""

    name = "fleet"
    event = "system_update"

    def admit(self, user: AbstractBaseUser, key: str) -> str | None:
        return audience_of(user) if key == "" else None  # type: ignore[arg-type]

    def render(self, keys: Sequence[str], language: str) -> dict[str, str]:
        return {
            audience: render_to_string("monitoring/_fleet_totals.html", {"totals": fleet_totals(audience)})
            for audience in keys
        }

    def data(self, keys: Sequence[str]) -> Mapping[str, Data]:
        return {audience: system_update(audience) for audience in keys}


class LogsTopic(Topic):
    """A stream: a word that changes when lines arrived, which the page then fetches.

    The key is the audience; for the panel of one server, which asks by its id, see `log_cursor.OF_SERVER`.
    """

    name = "logs"

    def admit(self, user: AbstractBaseUser, key: str) -> str | None:
        return self.admit_many(user, [key]).get(key)

    def admit_many(self, user: AbstractBaseUser, keys: Sequence[str]) -> dict[str, str]:
        """Two queries for all keys."""
        found = {key: OF_SERVER + canonical for key, canonical in _visible(user, keys).items()}
        return found | ({"": audience_of(user)} if "" in keys else {})  # type: ignore[arg-type]

    def render(self, keys: Sequence[str], language: str) -> dict[str, str]:
        return {key: cursor_html(key) for key in keys}


register(ServerTopic())
register(VitalsTopic())
register(SamplesTopic())
register(FleetTopic())
register(LogsTopic())
