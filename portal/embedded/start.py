"""From running services to a ready portal: migrate, prepare, start web, workers and beat, and say where it is.

python -m portal.embedded.start DATA --servers N --web URL [--own postgres,redis,mail] [--live URL] [--intake URL]
                                     [--syslog URL]
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import time
import traceback
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
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
DOOR_TIMEOUT_S = 120.0
ASK_TIMEOUT_S = 3.0
FAILED_STARTS = 3  # of a process, one after the other: waiting longer would change nothing
NAMES = {"web": "The web process", "live": "The live process", "intake": "The intake"}
DOORS = (*NAMES, "syslog")
USERNAME = "demo"


def start(data: Path, servers: int, own: frozenset[str], doors: Mapping[str, str]) -> None:
    """Everything up to the ready line. Raises StartError.

    `doors`: where the web processes listen ("web"), and those for what is pushed ("live") and what programs send
    ("intake") and for syslog, "" when there are none.
    """
    kept = Kept.read(data)
    load_django()  # a second of imports, in which the services come up
    check_settings()
    wait_for_services(data, own)
    _say("Preparing the database …")
    prepare_database(kept, servers)
    _say("Starting web, workers and beat …")
    control(socket_folder(data / "run")).supervisor.startProcessGroup(PORTAL, False)
    wait_for_door(data, "web", doors["web"])
    if doors["live"]:
        wait_for_door(data, "live", doors["live"])
    if doors["intake"]:
        wait_for_door(data, "intake", doors["intake"], ready=lambda _status: True)  # whatever it answers
    url = os.environ["PORTAL_URL"].rstrip("/") + "/"
    demo = {
        "url": url,
        "username": USERNAME,
        "password": kept.demo_password,
        "push_token": kept.push_token,
        "read_token": kept.read_token,
        "intake_url": doors["intake"] or url.rstrip("/"),
        "live_url": doors["live"] or url.rstrip("/"),
        **({"syslog": _place(doors["syslog"])} if doors["syslog"] else {}),
    }
    write_private(data / "demo.json", json.dumps(demo, indent=2) + "\n")
    if doors["intake"]:
        _say(f"Programs send to {doors['intake']}")
    if doors["syslog"]:
        _say(_about_syslog(doors["syslog"]))
    _say(f"OpenManager is ready: {url}  user {USERNAME}  password {kept.demo_password}")


def _place(url: str) -> str:
    return urlsplit(url).netloc


def _about_syslog(url: str) -> str:
    from django.conf import settings

    if settings.SYSLOG_ALLOW:
        return f"Syslog is taken at {_place(url)} (TCP and UDP) from {', '.join(settings.SYSLOG_ALLOW)}"
    return (
        f"Syslog at {_place(url)} (TCP and UDP) turns everybody away: it knows no tokens, so say which networks may "
        "send, and as which push token, with PORTAL_SYSLOG_ALLOW=10.0.0.0/8=NAME OF THE TOKEN"
    )


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


def wait_for_door(
    data: Path, door: str, base: str, *, ready: Callable[[int], bool] = lambda status: status == 200
) -> None:
    """Until the processes behind it say themselves that they are ready. Raises StartError.

    They can be connected to from the beginning: the socket is the supervisor's.
    """
    named = {"Host": urlsplit(os.environ["PORTAL_URL"]).netloc}  # of PORTAL_HOSTS
    asked = urllib.request.Request(f"{base}/readyz", headers=named)  # noqa: S310 (an http URL of our own)
    deadline = time.monotonic() + DOOR_TIMEOUT_S
    said = ""
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(asked, timeout=ASK_TIMEOUT_S) as answer:  # noqa: S310
                if ready(answer.status):
                    return
        except urllib.error.HTTPError as error:
            if ready(error.code):
                return
            said = error.read(300).decode(errors="replace")
        except OSError:
            pass
        if quick_ends(data / "run", door) >= FAILED_STARTS:
            raise StartError(f"{NAMES[door]} ends as soon as it starts; {_last_line(data, door)}")
        time.sleep(0.05)
    raise StartError(f"{NAMES[door]} did not become ready in {DOOR_TIMEOUT_S:.0f} s; {said or _last_line(data, door)}")


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
    for door in DOORS:
        parser.add_argument(f"--{door}", default="", help="where its processes listen, when there are such")
    options = parser.parse_args()
    try:
        doors = {door: getattr(options, door) for door in DOORS}
        start(options.data, options.servers, frozenset(options.own.split(",")), doors)
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
