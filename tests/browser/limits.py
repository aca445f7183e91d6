"""Limits that a browser test sets behind the portal's back, to make a server break one when it wants."""

from __future__ import annotations

from portal.embedded.running import RunningPortal
from portal.system.bench._inside import inside

ALWAYS_BROKEN, NEVER_BROKEN = 1.0, 99.99


def server_id(portal: RunningPortal, name: str) -> int:
    return int(inside(portal, f"Server.objects.get(name={name!r}).pk"))


def ignore_load_of_machines(portal: RunningPortal) -> None:
    """However busy a real machine is, nothing is made of its CPU."""
    inside(
        portal,
        "Threshold.objects.create(metric=Metric.objects.get(name='cpu'), scope='group',"
        " group=ServerGroup.objects.get(name='Machines')).pk",
    )


def set_limit(portal: RunningPortal, name: str, critical: float) -> None:
    """From when on the CPU of this server alone is critical."""
    inside(
        portal,
        "Threshold.objects.update_or_create(metric=Metric.objects.get(name='cpu'), scope='server',"
        f" server=Server.objects.get(name={name!r}), defaults={{'critical': {critical}}})[0].pk",
    )
