"""A thousand servers for ten minutes with somebody watching: what grows, and whether anything is left out."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from portal.embedded.running import running_portal
from portal.system.bench._chromium import signed_in
from portal.system.bench._inside import inside
from portal.system.bench.screen import memory_mb, oldest_s

SERVERS = 1_000
WARM_UP_S = 60
MINUTES = 10

# Instants of the fleet that are not there although later ones are.
_LEFT_OUT = (
    "(lambda at: (max(at) - min(at)) // 5 + 1 - len(set(at)))"
    "([int(a.timestamp()) for a in WarmFrame.objects.filter("
    "server_id=Server.objects.filter(simulated=True).first().pk, block=0).values_list('at', flat=True)])"
)


def run() -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder, running_portal(Path(folder) / "var", servers=SERVERS) as portal:
        with signed_in(portal.url, portal.demo["username"], portal.demo["password"]) as page:
            time.sleep(WARM_UP_S)
            before = memory_mb(portal)
            heap = float(page.evaluate("performance.memory.usedJSHeapSize")) / 1e6
            oldest = 0.0
            for _ in range(MINUTES):
                time.sleep(50)
                oldest = max(oldest, oldest_s(portal))
            grown = memory_mb(portal) - before
            heap_grown = float(page.evaluate("performance.memory.usedJSHeapSize")) / 1e6 - heap
            cards = page.locator("article.card").count()
        return {
            "soak.minutes": float(MINUTES),
            "soak.memory_growth_mb": grown,
            "soak.browser_heap_growth_mb": heap_grown,
            "soak.cards_on_screen": float(cards),
            "soak.oldest_newest_sample_s": oldest,
            "soak.instants_left_out": float(inside(portal, _LEFT_OUT)),
        }
