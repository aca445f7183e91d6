"""A process that records a whole fleet every five seconds, and lets servers break their limits when it is told to.

    python -m portal.system.bench._breaches NAME SERVERS METRICS PEOPLE

Makes SERVERS servers of the group NAME with a limit on each of their METRICS metrics; all of them go in one call of
`record`. On stdin "breach N M" lets N random servers break M limits each from the next call on, "recover" lets all be
well again; each is answered by a line {"servers": […], "began": s, "committed": s}: which servers, when `record` was
called and when it had returned, in seconds since 1970. The first line comes when everything is warm.
"""

from __future__ import annotations

import json
import queue
import random
import sys
import threading
import time

import django
import numpy as np

PERIOD_S = 5.0
WARM_UP = 3
FINE, WRONG = 20.0, 90.0


def main(name: str, servers: int, metrics: int, people: int) -> None:
    django.setup()
    from monitoring.history.frame import Frame, SeriesName
    from monitoring.history.record import record
    from portal.system.bench._watched import make_watched

    layout = tuple(SeriesName(f"load_{number:02d}") for number in range(metrics))
    server_ids = make_watched(name, servers, [name.metric for name in layout], people)
    values = np.full((servers, metrics), FINE)
    commands: queue.Queue[list[str]] = queue.Queue()
    threading.Thread(target=_listen, args=[commands], daemon=True).start()
    calls, due = 0, time.monotonic()
    while True:
        told = _obey(commands, values)
        began, at_ms = time.time(), time.time_ns() // 1_000_000
        noise = np.random.default_rng().uniform(0.0, 5.0, values.shape)
        frames = [Frame(server_ids[row], at_ms, layout, values[row] + noise[row]) for row in range(servers)]
        record(frames, origin="load")
        calls += 1
        if told is not None or calls == WARM_UP:
            ids = [server_ids[row] for row in told or []]
            print(json.dumps({"servers": ids, "began": began, "committed": time.time()}), flush=True)
        due += PERIOD_S
        time.sleep(max(0.0, due - time.monotonic()))


def _obey(commands: queue.Queue[list[str]], values: np.typing.NDArray[np.float64]) -> list[int] | None:
    """Change `values` as somebody asked for; the rows that changed, None when nobody asked."""
    if commands.empty():
        return None
    match commands.get():
        case ["breach", servers, metrics]:
            rows = random.sample(range(len(values)), int(servers))
            for row in rows:
                values[row, random.sample(range(values.shape[1]), int(metrics))] = WRONG
        case _:
            rows = np.flatnonzero((values == WRONG).any(axis=1)).tolist()
            values[:] = FINE
    return rows


def _listen(commands: queue.Queue[list[str]]) -> None:
    for line in sys.stdin:
        commands.put(line.split())


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:5]))
