"""A thousand servers for half an hour with somebody watching: what grows, and whether anything is left out.

Meanwhile 200 sockets of the same person read nothing, and 200 come and go every few seconds.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

import psutil
from playwright.sync_api import Page

from portal.embedded.running import RunningPortal, running_portal
from portal.system.bench._chromium import signed_in
from portal.system.bench._inside import inside
from portal.system.bench._strangers import strangers
from portal.system.bench.screen import memory_mb, oldest_s

SERVERS = 1_000
WARM_UP_S = 300
"""A web process with 200 visitors grows for two and a half minutes: pools, caches, the heap of its threads."""
MINUTES = 30
DEAF, VISITORS = 200, 200

# Instants of the fleet that are not there although later ones are.
_LEFT_OUT = (
    "(lambda at: (max(at) - min(at)) // 5 + 1 - len(set(at)))"
    "([int(a.timestamp()) for a in WarmFrame.objects.filter("
    "server_id=Server.objects.filter(simulated=True).first().pk, block=0).values_list('at', flat=True)])"
)


def run() -> dict[str, float]:
    env = {"PORTAL_LIVE_SOCKETS_PER_PERSON": "1000"}
    with (
        tempfile.TemporaryDirectory() as folder,
        running_portal(Path(folder) / "var", servers=SERVERS, env=env) as portal,
    ):
        with signed_in(portal.url, portal.demo["username"], portal.demo["password"]) as page:
            heap, oldest = 0.0, 0.0
            with strangers(
                urlsplit(portal.url).port or 0, _cookie(page), _topics(page), deaf=DEAF, visitors=VISITORS
            ) as seen:
                time.sleep(WARM_UP_S)
                before, web_before = memory_mb(portal), _web_mb(portal)
                heap = float(page.evaluate("performance.memory.usedJSHeapSize")) / 1e6
                for _ in range(MINUTES):
                    time.sleep(50)
                    oldest = max(oldest, oldest_s(portal))
                grown, web_grown = memory_mb(portal) - before, _web_mb(portal) - web_before
            heap_grown = float(page.evaluate("performance.memory.usedJSHeapSize")) / 1e6 - heap
            cards = page.locator("article.card").count()
        return {
            "soak.minutes": float(MINUTES),
            "soak.memory_growth_mb": grown,
            "soak.web_growth_mb": web_grown,
            "soak.deaf_sockets_ended": float(seen.deaf_ended),
            "soak.visits": float(seen.visits),
            "soak.browser_heap_growth_mb": heap_grown,
            "soak.cards_on_screen": float(cards),
            "soak.oldest_newest_sample_s": oldest,
            "soak.instants_left_out": float(inside(portal, _LEFT_OUT)),
        }


def _web_mb(portal: RunningPortal) -> float:
    return float(psutil.Process(portal.pids()["web"]).memory_info().rss) / 1e6


def _cookie(page: Page) -> str:
    return "; ".join(f"{cookie.get('name')}={cookie.get('value')}" for cookie in page.context.cookies())


def _topics(page: Page) -> list[str]:
    """What the page shows, all of it."""
    return [str(topic) for topic in page.eval_on_selector_all("[data-live]", "all => all.map(one => one.dataset.live)")]
