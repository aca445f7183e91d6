"""Make what a fresh portal needs: groups, the demo account, this machine as a server, the simulated fleet."""

from __future__ import annotations

import os
import socket
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction
from django.utils import timezone

from alerts.models import Rota, RotaMember, Rotation
from monitoring.collectors.credentials import OWN
from monitoring.ingest import tokens
from monitoring.models import Collector, Server, ServerGroup, ServerKind, Source
from monitoring.simulation.fleet import ensure_fleet
from portal.accounts import tokens as read_tokens
from portal.accounts.demo import ensure_demo_account
from portal.accounts.models import User

MOST_SERVERS = 20_000
OWN_SERVICES = (
    (Collector.POSTGRES, "postgresql", ServerKind.DATABASE, "The database of OpenManager"),
    (Collector.REDIS, "redis", ServerKind.CACHE, "The Redis of OpenManager"),
)
DEMO = "demo"


class Command(BaseCommand):
    help = "Make groups, the demo account, this machine as a server and the simulated fleet. Repeatable."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--servers", type=int, default=30, help="how many simulated servers (0: none)")

    def handle(self, *args: Any, servers: int, **options: Any) -> None:
        if not 0 <= servers <= MOST_SERVERS:
            raise CommandError(f"--servers {servers}: use a number from 0 to {MOST_SERVERS}.")
        password = os.environ.get("PORTAL_DEMO_PASSWORD")
        if password:
            prepare_demo(password)
        if token := os.environ.get("PORTAL_DEMO_READ_TOKEN"):
            prepare_read_token(token)
        machines, _ = ServerGroup.objects.get_or_create(name="Machines")
        simulated, _ = ServerGroup.objects.get_or_create(name="Simulated fleet")
        ensure_this_machine(machines)
        ensure_own_services(machines)
        if push_token := os.environ.get("PORTAL_DEMO_PUSH_TOKEN"):
            tokens.ensure_demo_token(push_token, machines)
        ensure_fleet(servers, simulated)


def prepare_demo(password: str) -> None:
    """The demo account; the first time also a rota for every group with it, so that the first alert is a mail.

    Once: who deletes the rota, or takes the account out of it, has decided that nobody is to be mailed.
    """
    first = not User.objects.filter(username=DEMO).exists()
    with transaction.atomic():
        person = ensure_demo_account(DEMO, password)
        if first and not Rota.objects.exists():
            rota = Rota.objects.create(rotation=Rotation.EVERYONE, starts_on=timezone.now().date())
            RotaMember.objects.create(rota=rota, person=person)


def prepare_read_token(text: str) -> None:
    """What demo.json calls `read_token`: reads the API as the demo account does; nothing without that account."""
    if person := User.objects.filter(username=DEMO).first():
        read_tokens.ensure(person, DEMO, text)


def ensure_this_machine(group: ServerGroup) -> None:
    """The machine that the portal runs on is the first server of all, read by the host collector."""
    if Source.objects.filter(collector=Collector.HOST).exists():
        return
    server, _ = Server.objects.get_or_create(
        name=socket.gethostname(),
        defaults={"kind": ServerKind.HOST, "group": group, "description": "The machine that runs OpenManager"},
    )
    Source.objects.create(server=server, collector=Collector.HOST, interval_s=5, timeout_s=5)


def ensure_own_services(group: ServerGroup) -> None:
    """The portal's own PostgreSQL and Redis are watched from the first minute, wherever its settings say they are.

    Once: who deletes such a source has decided that it is not to be read.
    """
    for collector, name, kind, description in OWN_SERVICES:
        if Source.history.filter(collector=collector, url=OWN).exists():
            continue
        server, _ = Server.objects.get_or_create(
            name=f"{socket.gethostname()}/{name}", defaults={"kind": kind, "group": group, "description": description}
        )
        Source.objects.get_or_create(server=server, collector=collector, url=OWN)
