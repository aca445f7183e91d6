"""How servers are called, for what knows only their ids."""

from __future__ import annotations

from collections.abc import Collection

from monitoring.models import Server


def server_names(server_ids: Collection[int]) -> dict[int, str]:
    """Id → name; without those that are not there any more. One query, none for no ids."""
    if not server_ids:
        return {}
    return dict(Server.objects.filter(pk__in=server_ids).order_by().values_list("pk", "name"))
