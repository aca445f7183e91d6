"""What a person waits for: the first byte of the fleet page, and from a commit to the number on the screen.

Whole portals as `manage.py up` runs them, one of 30 simulated servers and one of 1,000, and a real browser.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import psycopg
from playwright.sync_api import Page, Request

from portal.embedded.running import RunningPortal, running_portal
from portal.system.bench._chromium import signed_in
from portal.toolkit.env import read_env_file

SECONDS = 40
REQUESTS = 60

# Every swap of a card: which server, the instant of its newest sample, when it was on the screen.
_COLLECT = """() => {
    window.swaps = [];
    document.addEventListener("live:swapped", ({ detail: { element } }) => {
        if (!element?.id.startsWith("server-")) return;
        window.swaps.push([Number(element.id.slice(7)), Number(element.dataset.at), Date.now()]);
    });
}"""

# recorded_at is when the transaction began, so what is measured includes writing.
_COMMITTED = """
SELECT server_id, (extract(epoch FROM last_at) * 1000)::bigint, extract(epoch FROM recorded_at) * 1000
FROM monitoring_batch, unnest(server_ids) server_id
"""


def run() -> dict[str, float]:
    results: dict[str, float] = {}
    for servers in (30, 1_000):
        with tempfile.TemporaryDirectory() as folder, running_portal(Path(folder) / "var", servers=servers) as portal:
            with signed_in(portal.url, portal.demo["username"], portal.demo["password"]) as page:
                time.sleep(20)  # the first minute of everything is not what a person sees all day
                measured = _measure(portal, page)
            results |= {f"screen.{name}_{servers + 1}": value for name, value in measured.items()}
    return results


def _measure(portal: RunningPortal, page: Page) -> dict[str, float]:
    requests: list[Request] = []
    page.on("request", lambda request: requests.append(request))  # Playwright marks what it is given
    to_screen = _commit_to_screen(portal, page)
    requests_per_minute = len(requests) * 60 / SECONDS
    first_byte = _first_byte(portal, page)
    return {
        "commit_to_dom_p50_ms": float(np.percentile(to_screen, 50)),
        "commit_to_dom_p95_ms": float(np.percentile(to_screen, 95)),
        "requests_per_minute": requests_per_minute,
        "first_byte_p50_ms": float(np.percentile(first_byte, 50)),
        "first_byte_p95_ms": float(np.percentile(first_byte, 95)),
        "oldest_newest_sample_s": oldest_s(portal),
        "memory_pss_mb": memory_mb(portal),
    }


def _commit_to_screen(portal: RunningPortal, page: Page) -> list[float]:
    """Milliseconds of every swap of a card in `SECONDS`."""
    page.evaluate(_COLLECT)
    page.wait_for_timeout(SECONDS * 1000)
    swaps = page.evaluate("window.swaps")
    with _database(portal) as connection:
        committed = {(server, int(at)): float(when) for server, at, when in connection.execute(_COMMITTED)}
    return [shown - committed[server, at] for server, at, shown in swaps if (server, at) in committed]


def _first_byte(portal: RunningPortal, page: Page) -> list[float]:
    """Milliseconds until the first byte of the whole fleet page, one request after the other, signed in."""
    return [
        page.evaluate(
            """async url => {
                const began = performance.now();
                const answer = await fetch(url, { cache: "no-store" });
                const first = performance.now() - began;
                await answer.text();
                return first;
            }""",
            f"{portal.url}/",
        )
        for _ in range(REQUESTS)
    ]


def oldest_s(portal: RunningPortal) -> float:
    """How old the newest sample of the worst server is, the worst of ten looks a second apart."""
    worst = 0.0
    for _ in range(10):
        with _database(portal) as connection:
            row = connection.execute(
                """
                SELECT max(extract(epoch FROM now() - coalesce(newest.at, 'epoch'))) FROM monitoring_server server
                LEFT JOIN LATERAL (
                    SELECT at FROM monitoring_frame WHERE server_id = server.id AND block = 0
                    AND at > now() - interval '10 minutes' ORDER BY at DESC LIMIT 1
                ) newest ON true
                """
            ).fetchone()
        worst = max(worst, float(row[0]) if row else 0.0)
        time.sleep(1)
    return worst


def memory_mb(portal: RunningPortal) -> float:
    """Proportional set size of everything that `up` started."""
    processes = [psutil.Process(portal.process.pid)]
    processes += processes[0].children(recursive=True)
    return sum(process.memory_full_info().pss for process in processes) / 1e6


def _database(portal: RunningPortal) -> psycopg.Connection[tuple[float, ...]]:
    return psycopg.connect(read_env_file(portal.data / "portal.env")["DATABASE_URL"])
