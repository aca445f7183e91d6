"""`manage.py test [pytest's arguments]`: the tests, with a PostgreSQL, a Redis and a mail server of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Any

from django.core.management.base import BaseCommand

from portal.embedded.errors import StartError
from portal.embedded.services import ROOT
from portal.embedded.throwaway import services


class Command(BaseCommand):
    help = "Run the tests; takes the arguments of pytest."
    requires_system_checks = []

    def run_from_argv(self, argv: list[str]) -> None:
        """Everything behind `test` is pytest's, -h and -v too."""
        try:
            sys.exit(run_tests(argv[2:]))
        except StartError as error:
            sys.exit(str(error))

    def handle(self, *args: Any, **options: Any) -> None:
        """`call_command("test", ...)`."""
        sys.exit(run_tests([str(arg) for arg in args]))


def run_tests(arguments: Sequence[str]) -> int:
    """pytest's exit code. SIGTERM stops the tests and then the services, like Ctrl-C."""
    running: list[subprocess.Popen[bytes]] = []

    def stop(number: int, frame: FrameType | None) -> None:
        for process in running:
            process.send_signal(signal.SIGINT)
        if not running:
            raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    try:
        with services(os.environ) as env:
            # The terminal sends Ctrl-C to both: pytest says where it was, and we wait for it.
            process = subprocess.Popen([sys.executable, "-m", "pytest", *arguments], cwd=ROOT, env=env)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            running.append(process)
            return process.wait()
    except KeyboardInterrupt:
        return 130
