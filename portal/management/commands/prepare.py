"""Make what a fresh portal needs: groups, the demo account, this machine as a server, the simulated fleet."""

from __future__ import annotations

import os
import socket
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from monitoring.models import Collector, Server, ServerGroup, ServerKind, Source
from monitoring.simulation.fleet import ensure_fleet
from portal.accounts.demo import ensure_demo_account

MOST_SERVERS = 20_000


class Command(BaseCommand):
    help = "Make groups, the demo account, this machine as a server and the simulated fleet. Repeatable."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--servers", type=int, default=30, help="how many simulated servers (0: none)")

    def handle(self, *args: Any, servers: int, **options: Any) -> None:
        if not 0 <= servers <= MOST_SERVERS:
            raise CommandError(f"--servers {servers}: use a number from 0 to {MOST_SERVERS}.")
        password = os.environ.get("PORTAL_DEMO_PASSWORD")
        if password:
            ensure_demo_account("demo", password)
        machines, _ = ServerGroup.objects.get_or_create(name="Machines")
        simulated, _ = ServerGroup.objects.get_or_create(name="Simulated fleet")
        ensure_this_machine(machines)
        ensure_fleet(servers, simulated)


def ensure_this_machine(group: ServerGroup) -> None:
    """The machine that the portal runs on is the first server of all, read by the host collector."""
    if Source.objects.filter(collector=Collector.HOST).exists():
        return
    server, _ = Server.objects.get_or_create(
        name=socket.gethostname(),
        defaults={"kind": ServerKind.HOST, "group": group, "description": "The machine that runs OpenManager"},
    )
    Source.objects.create(server=server, collector=Collector.HOST, interval_s=5, timeout_s=5)
