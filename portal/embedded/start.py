"""From running services to a ready portal: migrate, prepare, start web, workers and beat, and say where it is.

python -m portal.embedded.start DATA --servers N [--own postgres,redis,mail] [--intake URL]
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import socket
import sys
import time
import traceback
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit
from xmlrpc.client import ServerProxy

from supervisor.xmlrpc import SupervisorTransport

from portal.embedded.errors import StartError
from portal.embedded.folders import socket_folder, write_private
from portal.embedded.kept import Kept
from portal.embedded.processes import quick_ends
from portal.embedded.programs import PORTAL, SOCKET
from portal.embedded.services import VARIABLES, is_ready

OWN_TIMEOUT_S = 60.0  # a database that was killed replays its log first
GIVEN_TIMEOUT_S = 10.0
WEB_TIMEOUT_S = 120.0
FAILED_STARTS = 3  # of the web process, one after the other: waiting longer would change nothing
USERNAME = "demo"


def start(data: Path, servers: int, own: frozenset[str], intake_url: str = "") -> None:
    """Everything up to the ready line. Raises StartError."""
    kept = Kept.read(data)
    load_django()  # a second of imports, in which the services come up
    check_settings()
    wait_for_services(data, own)
    _say("Preparing the database …")
    prepare_database(kept, servers)
    _say("Starting web, workers and beat …")
    control(socket_folder(data / "run")).supervisor.startProcessGroup(PORTAL, False)
    wait_for_web(data)
    if intake_url:
        wait_for_intake(data, intake_url)
    url = os.environ["PORTAL_URL"].rstrip("/") + "/"
    demo = {
        "url": url,
        "username": USERNAME,
        "password": kept.demo_password,
        "push_token": kept.push_token,
        "read_token": kept.read_token,
        "intake_url": intake_url or url.rstrip("/"),
    }
    write_private(data / "demo.json", json.dumps(demo, indent=2) + "\n")
    if intake_url:
        _say(f"Programs send to {intake_url}")
    _say(f"OpenManager is ready: {url}  user {USERNAME}  password {kept.demo_password}")


def wait_for_services(data: Path, own: frozenset[str]) -> None:
    for name, variable in VARIABLES.items():
        url = os.environ[variable]
        if name in own:
            if not is_ready(name, url, OWN_TIMEOUT_S):
                raise StartError(f"{name} did not start; {_last_line(data, name)}")
        elif name != "mail" and not is_ready(name, url, GIVEN_TIMEOUT_S):
            where = urlsplit(url)
            raise StartError(f"{variable} names {where.hostname or where.path}, and nothing usable answers there.")


def load_django() -> None:
    import django
    from django.core.exceptions import ImproperlyConfigured

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
    try:
        django.setup()
    except ImproperlyConfigured as error:
        raise StartError(f"A setting is wrong: {error}") from error


def check_settings() -> None:
    """What `manage.py check` calls an error stops the start: a page would break on it later, or never be reached."""
    from django.core.checks import ERROR, run_checks

    wrong = [message for message in run_checks() if message.is_serious(ERROR) and not message.is_silenced()]
    if wrong:
        raise StartError("\n".join(f"A setting is wrong: {each.msg} {each.hint or ''}".strip() for each in wrong))


def prepare_database(kept: Kept, servers: int) -> None:
    """Tables and first rows."""
    from django.core.management import call_command

    os.environ |= {
        "PORTAL_DEMO_PASSWORD": kept.demo_password,
        "PORTAL_DEMO_PUSH_TOKEN": kept.push_token,
        "PORTAL_DEMO_READ_TOKEN": kept.read_token,
    }
    # It makes thousands of classes, of the models as they once were, and keeps them: looking for garbage among them
    # would take a third of its time.
    gc.disable()
    call_command("migrate", interactive=False, verbosity=0)
    gc.enable()
    call_command("prepare", servers=servers)


def control(sockets: Path) -> ServerProxy:
    """supervisor's remote control, behind its unix socket."""
    transport = SupervisorTransport(None, None, f"unix://{sockets / SOCKET}")
    return ServerProxy("http://127.0.0.1", transport=transport)


def wait_for_web(data: Path) -> None:
    """Until the portal says itself that it is ready."""
    url = f"http://127.0.0.1:{os.environ['PORTAL_PORT']}/readyz"
    asked = urllib.request.Request(url, headers={"Host": urlsplit(os.environ["PORTAL_URL"]).netloc})  # of PORTAL_HOSTS
    deadline = time.monotonic() + WEB_TIMEOUT_S
    said = ""
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(asked, timeout=5) as answer:  # noqa: S310 (an http URL of our own)
                if answer.status == 200:
                    return
        except urllib.error.HTTPError as error:
            said = error.read(300).decode(errors="replace")
        except OSError:
            pass
        if quick_ends(data / "run", "web") >= FAILED_STARTS:
            raise StartError(f"The web process ends as soon as it starts; {_last_line(data, 'web')}")
        time.sleep(0.05)
    raise StartError(f"The portal did not become ready in {WEB_TIMEOUT_S:.0f} s; {said or _last_line(data, 'web')}")


def wait_for_intake(data: Path, url: str) -> None:
    """Until it listens."""
    where = urlsplit(url)
    deadline = time.monotonic() + WEB_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            with socket.create_connection((where.hostname or "", where.port or 80), timeout=5):
                return
        except OSError:
            time.sleep(0.05)
        if quick_ends(data / "run", "intake") >= FAILED_STARTS:
            raise StartError(f"The intake ends as soon as it starts; {_last_line(data, 'intake')}")
    raise StartError(f"The intake did not become ready in {WEB_TIMEOUT_S:.0f} s; {_last_line(data, 'intake')}")


def _last_line(data: Path, name: str) -> str:
    log = data / "logs" / f"{name}.log"
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return f"{log} ends with: {lines[-1] if lines else 'nothing'}"


def _say(line: str) -> None:
    print(line, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--servers", type=int, required=True)
    parser.add_argument("--own", default="")
    parser.add_argument("--intake", default="", help="the address of the intake, when it is a process of its own")
    options = parser.parse_args()
    try:
        start(options.data, options.servers, frozenset(options.own.split(",")), options.intake)
    except StartError as error:
        print(error, file=sys.stderr, flush=True)
        return 1
    except Exception as error:
        log = options.data / "logs" / "start.log"
        log.write_text(traceback.format_exc())
        said = next(iter(str(error).strip().splitlines()), type(error).__name__)
        print(f"The start failed: {said} (details are in {log})", file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
