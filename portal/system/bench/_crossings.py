"""A process that makes servers cross a limit, up and down, and writes down each crossing that was acknowledged.

    python -m portal.system.bench._crossings NAME SERVERS PEOPLE PAUSE_S LEDGER

Makes SERVERS servers of the group NAME and sends one crossing after the other, of a random server, with pauses between.
A line "at_ms server_id up|down" is written, and forced to disk, only after `record` has returned; its instant is told
by no other. What fails is sent again, as it is. On stdin "burst" lets every server that is down go up and down within
half a second, "up" and "down" let all go there; its end lets all go down and ends the process.
"""

from __future__ import annotations

import os
import queue
import random
import sys
import threading
import time
from collections.abc import Sequence
from typing import TextIO

import django

METRIC = "crossing"
GIVEN_UP_AFTER_S = 60.0


def main(name: str, servers: int, people: int, pause_s: float, ledger: str) -> None:
    django.setup()
    from portal.system.bench._watched import make_watched

    commands: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_listen, args=[commands], daemon=True).start()
    with open(ledger, "a") as out:
        sender = _Sender(make_watched(name, servers, [METRIC], people), out)
        while (command := _next(commands, pause_s)) != "end":
            sender.obey(command)
        sender.obey("down")


class _Sender:
    def __init__(self, server_ids: list[int], out: TextIO) -> None:
        self._is_up = dict.fromkeys(server_ids, False)
        self._out = out
        self._at_ms = 0

    def obey(self, command: str) -> None:
        down = [server for server, is_up in self._is_up.items() if not is_up]
        up = [server for server, is_up in self._is_up.items() if is_up]
        if command == "burst":
            self._cross(down, up=True)
            time.sleep(0.5)
            self._cross(down, up=False)
        elif command == "up":
            self._cross(down, up=True)
        elif command == "down":
            self._cross(up, up=False)
        else:
            server = random.choice(list(self._is_up))  # noqa: S311 (load, not a secret)
            self._cross([server], up=not self._is_up[server])

    def _cross(self, server_ids: Sequence[int], *, up: bool) -> None:
        if not server_ids:
            return
        self._at_ms = _instant_after(self._at_ms)
        _record_until_acknowledged(server_ids, self._at_ms, 100.0 if up else 0.0)
        for server_id in server_ids:
            self._is_up[server_id] = up
            self._out.write(f"{self._at_ms} {server_id} {'up' if up else 'down'}\n")
        self._out.flush()
        os.fsync(self._out.fileno())


def _instant_after(at_ms: int) -> int:
    """Now, and another millisecond than the last one."""
    now_ms = time.time_ns() // 1_000_000
    return now_ms + 1 if now_ms == at_ms else now_ms


def _record_until_acknowledged(server_ids: Sequence[int], at_ms: int, value: float) -> None:
    from django.db import DatabaseError, connections

    from monitoring.history.frame import Frame
    from monitoring.history.record import record

    frames = [Frame.of(server_id, at_ms, {METRIC: value}) for server_id in server_ids]
    deadline = time.monotonic() + GIVEN_UP_AFTER_S
    while True:
        try:
            answer = record(frames, origin="crossings")
            assert not answer.refused, answer.refused
            return
        except (DatabaseError, OSError):
            if time.monotonic() > deadline:
                raise
            connections.close_all()
            time.sleep(0.1)


def _listen(commands: queue.Queue[str]) -> None:
    for line in sys.stdin:
        commands.put(line.strip())
    commands.put("end")


def _next(commands: queue.Queue[str], pause_s: float) -> str:
    """What somebody asked for, else after the pause a crossing."""
    try:
        return commands.get(timeout=pause_s) if pause_s else commands.get()
    except queue.Empty:
        return "one"


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), sys.argv[5])
