"""Questions to a running portal's own database, in Python: a process with Django loaded forks one for each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from portal.embedded.running import RunningPortal
from portal.embedded.services import ROOT
from portal.toolkit.env import read_env_file

_FORKING = """
import gc, json, os, signal, sys, traceback
import django
django.setup()
from django.db import connections
from monitoring.models import *
from alerts.models import *
from monitoring.history.frame import SeriesName
from monitoring.history.read import read
from monitoring.logs.ask import Ask
from monitoring.logs.counts import totals
from monitoring.logs.search import search

def answer(expression):
    signal.alarm(60)
    try:
        return {"value": eval(expression)}
    except BaseException:
        return {"error": traceback.format_exc()}

answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # what the portal's code logs is no answer
gc.freeze()
for line in sys.stdin:
    pid = os.fork()
    if not pid:
        print(json.dumps(answer(json.loads(line))), file=answers, flush=True)
        connections.close_all()
        os._exit(0)  # taking apart all that is loaded would take longer than the answer
    status = os.waitpid(pid, 0)[1]
    print(json.dumps({"ended": status}), file=answers, flush=True)
"""


def inside(portal: RunningPortal, expression: str) -> Any:
    """The value of a Python expression over the portal's own database, in a process of its own.

    It sees the models, `read` and `SeriesName`, and of logs `Ask`, `search` and `totals`. Nothing is left of one
    expression when the next is asked for.
    """
    process = _processes.get(portal.data) or _start(portal)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(expression) + "\n")
    process.stdin.flush()
    said: dict[str, Any] = {}
    while "ended" not in said:
        line = process.stdout.readline()
        assert line, f"no answer to {expression}"
        said |= json.loads(line)
    assert "value" in said, said.get("error") or f"{expression} ended with {said['ended']}"
    return said["value"]


def environment(portal: RunningPortal) -> dict[str, str]:
    """That of a command beside the portal."""
    return {
        **os.environ,
        **read_env_file(portal.data / "portal.env"),
        "PORTAL_DATA": str(portal.data),
        "DJANGO_SETTINGS_MODULE": "portal.settings",
    }


_processes: dict[Path, subprocess.Popen[str]] = {}


def _start(portal: RunningPortal) -> subprocess.Popen[str]:
    """It ends with the portal, or with us."""
    process = subprocess.Popen(
        [sys.executable, "-c", _FORKING],
        cwd=ROOT,
        env=environment(portal),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    _processes[portal.data] = process
    portal.beside.callback(_end, portal.data)
    return process


def _end(data: Path) -> None:
    with _processes.pop(data) as process:
        process.kill()
