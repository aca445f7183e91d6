"""The web process of a benchmark: uvicorn as a portal runs it, and somebody who is signed in to it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.request import urlopen

import psutil
from django.conf import settings
from django.test import Client

from portal.accounts.models import User
from portal.embedded.mail import free_port
from portal.embedded.services import ROOT

OURS = "portal.toolkit.live.protocol:LiveProtocol"
OUR_HTTP = "portal.toolkit.live.protocol:HttpProtocol"
UVICORNS = "websockets-sansio"


def signed_in(username: str) -> str:
    """The session cookie of somebody who may see everything."""
    User.objects.filter(username=username).delete()
    client = Client()
    client.force_login(User.objects.create_superuser(username), backend=settings.AUTHENTICATION_BACKENDS[0])
    return f"{settings.SESSION_COOKIE_NAME}={client.cookies[settings.SESSION_COOKIE_NAME].value}"


@contextmanager
def web(application: str, ws: str = OURS, **env: str) -> Iterator[tuple[int, psutil.Process]]:
    """A web process that answers: (its port, itself); stopped at the end."""
    port = free_port()
    options = [
        "--http",
        OUR_HTTP,
        "--ws",
        ws,
        "--ws-ping-interval",
        "30",
        "--ws-per-message-deflate",
        "false",
        "--log-level",
        "warning",
    ]
    command = [sys.executable, "-m", "uvicorn", application, "--port", str(port), *options]
    env = {"PORTAL_LIVE_SOCKETS_PER_PERSON": "100000", **env}  # one person's session is enough to measure with
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ | env)
    try:
        _wait_for(port)
        yield port, psutil.Process(process.pid)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            with urlopen(f"http://127.0.0.1:{port}/healthz", timeout=2):
                return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
