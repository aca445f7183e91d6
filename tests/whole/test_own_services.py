"""The portal's own PostgreSQL and Redis, in a whole portal from its first minute."""

from __future__ import annotations

import time
from typing import Any

import pytest

from portal.embedded.running import RunningPortal
from portal.system.bench._inside import inside

pytestmark = pytest.mark.slow

READ = "list(Source.objects.filter(url='own:').values('pk', 'collector', 'error', 'ok_at__year', 'url'))"
CARDS = """(lambda cards: {
    card.facts.name.rpartition('/')[2]: [[reading.label, reading.text] for reading in card.readings]
    for card in cards.values()})(
    __import__('monitoring.queries.cards', fromlist=['server_cards']).server_cards(
        list(Server.objects.filter(name__contains='/').values_list('pk', flat=True))))"""


def test_they_are_read_without_a_stored_password_and_their_cards_say_what_they_measure(portal: RunningPortal) -> None:
    sources = wait_until_read(portal)
    assert {(source["collector"], source["error"]) for source in sources} == {("postgres", ""), ("redis", "")}
    assert inside(portal, "list(Source.objects.values_list('sealed_secret', flat=True).distinct())") == [""]
    cards = wait_until_read_twice(portal)
    assert [label for label, _text in cards["postgresql"]] == ["Connections", "Cache hit", "Transactions"]
    assert next(label for label, _text in cards["redis"]) in {"Memory", "Cache hit"}
    assert cards["postgresql"][0][1].endswith("%")


def wait_until_read(portal: RunningPortal) -> list[dict[str, Any]]:
    for _ in range(120):
        sources: list[dict[str, Any]] = inside(portal, READ)
        if len(sources) == 2 and all(source["ok_at__year"] for source in sources):
            return sources
        time.sleep(0.5)
    raise AssertionError(f"not read: {sources}")


def wait_until_read_twice(portal: RunningPortal) -> dict[str, list[list[str]]]:
    """What the cards show once there is an increase to show, 15 s later."""
    for _ in range(80):
        cards: dict[str, list[list[str]]] = inside(portal, CARDS)
        if "Transactions" in dict(cards["postgresql"]):
            break
        time.sleep(1)
    return cards
