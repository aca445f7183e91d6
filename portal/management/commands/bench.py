"""`manage.py bench [NAME …] [--json FILE]`: measure, with a PostgreSQL and a Redis of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from portal.embedded.errors import StartError
from portal.embedded.services import ROOT, VARIABLES
from portal.embedded.throwaway import services
from portal.system import bench


class Command(BaseCommand):
    help = "Measure; without names everything but what takes long. Never touches the portal's own data."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(bench.names()))
        parser.add_argument("--json", metavar="FILE", help="also write the numbers as one flat object")

    def handle(self, *args: Any, names: list[str], json: str | None, **options: Any) -> None:
        unknown = sorted(set(names) - set(bench.names()))
        if unknown:
            raise CommandError(f"There is no benchmark {', '.join(unknown)}. There are: {', '.join(bench.names())}.")
        command = [sys.executable, "-m", "portal.system.bench", *(names or sorted(set(bench.names()) - bench.LONG))]
        if json:
            command += ["--json", json]
        given = {name: value for name, value in os.environ.items() if name not in VARIABLES.values()}
        try:
            with services(given, durable=True) as env:
                sys.exit(subprocess.call(command, cwd=ROOT, env=env))
        except StartError as error:
            raise CommandError(str(error)) from error
