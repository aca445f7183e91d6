"""What programs read: every server at a glance, by size of the fleet, made anew and from memory; and Redis itself.

`dashboard_<n>_ms` is an answer for n servers that was made for the one who asked, `dashboard_cached_<n>_ms` one from
memory, both as HTTP answers of a web process to somebody who is no superuser. `healthz_ms` is what any answer costs.
"""

from __future__ import annotations

import json
import time
from http.client import HTTPConnection, HTTPResponse
from statistics import median

import numpy as np
from django.utils import timezone

from monitoring.history.frame import Frame, SeriesName
from monitoring.history.record import record
from monitoring.models import Batch, Membership, Role, Server, ServerGroup
from portal.accounts.models import User
from portal.system.bench._history import empty_history
from portal.system.bench._web import signed_in, web
from portal.toolkit.redis import client as redis

SIZES = (10, 100, 1_000, 10_000)
USUAL = 1_000
ROUNDS = 12
NEW_EVERY_S = 1.05
"""A new answer is made at most once a second."""
POLLS, POLL_EVERY_S = 13, 5.0
LAYOUT = tuple(
    SeriesName(metric)
    for metric in (
        *("cpu", "memory", "disk", "net_rx", "net_tx", "load1", "load5", "load15", "swap", "disk_read"),
        *("disk_write", "connections", "processes", "uptime", "cpu_cores", "memory_total", "memory_used"),
        *("disk_total", "disk_used", "throughput"),
    )
)
RANDOM = np.random.default_rng(4)


def run() -> dict[str, float]:
    with empty_history():
        fleets = {size: _fleet(size) for size in SIZES}
        cookies = {size: _somebody(size) for size in SIZES}
        staff = signed_in("api-staff")
        with web("portal.asgi:application") as (port, _process):
            asked = _Asked(HTTPConnection("127.0.0.1", port, timeout=30))
            found = {"api.healthz_ms": median(asked.milliseconds("/healthz", "", 40))}
            for size in SIZES:
                found |= _dashboard(asked, size, cookies[size])
            found |= {
                "api.dashboard_ms": found[f"api.dashboard_{USUAL}_ms"],
                "api.dashboard_gzip_ms": _compressed(asked, cookies[USUAL]),
                "api.cached_share": _polling(asked, cookies[SIZES[0]], fleets[SIZES[0]]),
                **_redis(asked, staff),
            }
    return found


class _Asked:
    """One connection that is kept, as a browser does."""

    def __init__(self, connection: HTTPConnection) -> None:
        self._connection = connection

    def close(self) -> None:
        """The next question opens it again."""
        self._connection.close()

    def get(self, path: str, cookie: str, **headers: str) -> tuple[HTTPResponse, bytes]:
        self._connection.request("GET", path, headers={"Cookie": cookie, **headers})
        answer = self._connection.getresponse()
        return answer, answer.read()

    def milliseconds(self, path: str, cookie: str, rounds: int, *, pause_s: float = 0.0, **headers: str) -> list[float]:
        took = []
        for _ in range(rounds):
            time.sleep(pause_s)
            began = time.perf_counter()
            answer, _body = self.get(path, cookie, **headers)
            took.append(1000 * (time.perf_counter() - began))
            assert answer.status == 200
        return took


def _fleet(size: int) -> list[int]:
    group = ServerGroup.objects.create(name=f"api-{size}")
    names = [f"api-{size}-{number}" for number in range(size)]
    made = Server.objects.bulk_create(Server(name=name, group=group) for name in names)
    server_ids = [server.pk for server in made]
    _measure(server_ids)
    return server_ids


def _measure(server_ids: list[int]) -> None:
    now_ms = int(timezone.now().timestamp() * 1000)
    for start in range(0, len(server_ids), 1000):
        some = server_ids[start : start + 1000]
        values = np.round(RANDOM.uniform(0, 100, (len(some), len(LAYOUT))), 1)
        record([Frame(pk, now_ms, LAYOUT, row) for pk, row in zip(some, values, strict=True)], origin="bench")
    Batch.objects.update(evaluated_at=timezone.now())


def _somebody(size: int) -> str:
    """The cookie of a member of the fleet's group, no superuser."""
    cookie = signed_in(f"api-{size}")
    person = User.objects.get(username=f"api-{size}")
    person.is_superuser = person.is_staff = False
    person.save(update_fields=["is_superuser", "is_staff"])
    Membership.objects.create(user=person, group=ServerGroup.objects.get(name=f"api-{size}"), role=Role.VIEWER)
    return cookie


def _dashboard(asked: _Asked, size: int, cookie: str) -> dict[str, float]:
    path = "/api/dashboard"
    body = json.loads(asked.get(path, cookie)[1])
    assert body["total"] == size
    assert all(server["metrics"]["network"] is not None for server in body["servers"])
    new, trips = [], []
    for _ in range(ROUNDS):
        time.sleep(NEW_EVERY_S)
        before = _commands()
        new += asked.milliseconds(f"{path}?refresh=1", cookie, 1)
        trips.append(_commands() - before - 1)  # the second count is a command too
    assert json.loads(asked.get(path, cookie)[1])["cached"] is True
    cached = asked.milliseconds(path, cookie, ROUNDS)
    return {
        f"api.dashboard_{size}_ms": median(new),
        f"api.dashboard_{size}_p95_ms": float(np.percentile(new, 95)),
        f"api.dashboard_{size}_per_server_ms": median(new) / size,
        f"api.dashboard_{size}_redis_round_trips": median(trips),
        f"api.dashboard_cached_{size}_ms": median(cached),
    }


def _commands() -> int:
    return int(redis().info("stats")["total_commands_processed"])


def _compressed(asked: _Asked, cookie: str) -> float:
    headers = {"Accept-Encoding": "gzip"}
    took = asked.milliseconds("/api/dashboard?refresh=1", cookie, ROUNDS, pause_s=NEW_EVERY_S, **headers)
    return median(took)


def _polling(asked: _Asked, cookie: str, server_ids: list[int]) -> float:
    """The share of answers that nothing was read for, of a page that asks every 5 s while every server changes."""
    tag, cached = "", 0
    for _ in range(POLLS):
        _measure(server_ids)
        answer, _body = asked.get("/api/dashboard", cookie, **{"If-None-Match": tag})
        tag = answer.headers["ETag"]
        cached += answer.status == 304 or "Age" in answer.headers
        asked.close()  # the portal keeps a silent connection for less than the pause
        time.sleep(POLL_EVERY_S)
    return cached / POLLS


def _redis(asked: _Asked, cookie: str) -> dict[str, float]:
    took = []
    for _ in range(200):
        answer, body = asked.get("/api/system/redis", cookie)
        assert answer.status == 200
        took.append(json.loads(body)["responseTime"])
    return {"api.redis_ms": float(np.percentile(took, 95)), "api.redis_median_ms": median(took)}
