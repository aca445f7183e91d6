"""The rulebook: the same winners as one by one, compiled only when something changed."""

from __future__ import annotations

import numpy as np
import pytest
from django.db import connection, connections
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.models import Direction, Threshold
from alerts.rules import rulebook as rules
from alerts.rules.rulebook import Rulebook, rulebook
from alerts.rules.scope import winners
from monitoring.models import Metric, Series, Server, ServerGroup
from tests.alerts.rules.conftest import Scene

KINDS = ("web", "cache")


def watched(book: Rulebook) -> dict[tuple[int, str], int]:
    """(series id, condition) → threshold id."""
    series = book.series_ids[book.series_of].tolist()
    return {(pk, book.condition(watch)): int(book.threshold_ids[watch]) for watch, pk in enumerate(series)}


@pytest.mark.django_db
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_the_winners_are_those_of_one_server_at_a_time(data: st.DataObject) -> None:
    Threshold.objects.all().delete()
    Server.objects.all().delete()
    metrics = [Metric.objects.get_or_create(name=name)[0] for name in ("cpu", "memory")]
    groups = [ServerGroup.objects.get_or_create(name=name)[0] for name in ("one", "two")]
    servers = [
        Server.objects.create(
            name=f"server {i}", kind=data.draw(st.sampled_from(KINDS)), group=data.draw(st.sampled_from(groups))
        )
        for i in range(4)
    ]
    for server in servers:
        for slot, metric in enumerate(metrics):
            Series.objects.create(server=server, metric=metric, block=0, slot=slot)
    targets = [
        {"scope": "all"},
        *({"scope": "kind", "kind": kind} for kind in KINDS),
        *({"scope": "group", "group": group} for group in groups),
        *({"scope": "server", "server": server} for server in servers),
    ]
    for target in targets:
        for metric in metrics:
            for direction in Direction:
                if data.draw(st.booleans()):
                    critical, enabled = data.draw(st.sampled_from([None, 50.0])), data.draw(st.booleans())
                    Threshold.objects.create(
                        metric=metric, direction=direction, critical=critical, enabled=enabled, **target
                    )
    expected = {}
    for server in servers:
        for (metric_id, direction), winner in winners(Threshold.objects.all(), server).items():
            series = Series.objects.get(server=server, metric=metric_id)
            if winner.critical is not None:
                expected[series.pk, direction] = winner.pk
    assert watched(rules._compile((), Server.objects.latest("created_at").created_at).book) == expected


def test_its_order_is_that_of_server_place_and_sign(scene: Scene) -> None:
    for direction in Direction:
        for metric in ("cpu", "memory"):
            scene.threshold(metric, direction=direction, critical=50)
    for name in ("one", "two"):
        scene.sample(0, {"memory": 1.0, "swap": 1.0, "cpu": 1.0}, name)
    book = rulebook(scene.at(0))
    assert len(book.series_of) == 8
    assert (np.diff(book.keys) > 0).all()
    assert book.rules.sign.tolist() == [-1, 1] * 4
    found = book.find_places(book.server_ids, book.places)
    assert found.tolist() == list(range(4))
    assert book.find_places(book.server_ids[:1], np.array([63])).tolist() == [-1]


@pytest.mark.parametrize(
    ("direction", "limits", "clears"),
    [
        ("above", (80, 90, 75), ([80, 90], [75, 85])),
        ("above", (None, 90, None), ([np.inf, 90], [np.inf, 90])),
        ("above", (80, 90, 85), ([80, 90], [80, 90])),
        ("below", (20, 10, 25), ([-20, -10], [-25, -15])),
        ("below", (20, None, 20.1), ([-20, np.inf], [-20.1, np.inf])),
    ],
)
def test_limits_and_clearing_values(
    scene: Scene, direction: str, limits: tuple[float | None, ...], clears: tuple[list[float], list[float]]
) -> None:
    scene.threshold(direction=direction, warning=limits[0], critical=limits[1], clear=limits[2])
    scene.sample(0, 1)
    found = rulebook(scene.at(0)).rules
    assert (found.limits[:, 0].tolist(), found.clears[:, 0].tolist()) == clears


def test_an_override_counts_until_its_time_is_over(scene: Scene) -> None:
    scene.threshold(critical=85, override_until=scene.at(60), override_critical=95)
    scene.sample(0, 1)
    assert [rulebook(scene.at(s)).rules.limits[1, 0] for s in (0, 59, 60, 61, 30)] == [95, 95, 85, 85, 95]


def test_paused_servers_are_left_out(scene: Scene) -> None:
    scene.threshold(critical=85)
    scene.sample(0, 1, "one")
    scene.sample(0, 1, "two")
    Server.objects.filter(name="one").update(paused=True)
    assert rulebook(scene.at(0)).server_ids.tolist() == [scene.server("two").pk]


def test_it_is_compiled_once_while_nothing_changes(scene: Scene) -> None:
    scene.threshold(critical=85)
    scene.sample(0, 1)
    assert rulebook(scene.at(0)) is rulebook(scene.at(1))


@pytest.mark.parametrize("change", ["threshold", "edit", "group", "pause", "series", "server gone", "interval"])
def test_a_change_is_seen_at_once(scene: Scene, change: str) -> None:
    threshold = scene.threshold(critical=85)
    scene.sample(0, 1)
    scene.sample(0, 1, "other")
    before = rulebook(scene.at(0))
    if change == "threshold":
        scene.threshold("memory", critical=1)
    elif change == "edit":
        Threshold.objects.filter(pk=threshold.pk).update(critical=86)
    elif change == "group":
        Server.objects.filter(name="other").update(group=ServerGroup.objects.create(name="Elsewhere"))
    elif change == "pause":
        Server.objects.filter(name="other").update(paused=True)
    elif change == "series":
        scene.sample(1, {"memory": 1.0})
    elif change == "server gone":
        Server.objects.filter(name="other").delete()
    else:
        scene.server().sources.create(collector="host", interval_s=5)
    assert rulebook(scene.at(0)) is not before


@pytest.mark.django_db(transaction=True)
def test_a_series_that_is_committed_after_one_with_a_higher_id_is_not_overlooked(committed: Scene) -> None:
    committed.threshold(critical=85)
    metric = Metric.objects.get(name="cpu")
    one, two = committed.server("one"), committed.server("two")
    slow = connections.create_connection("default")
    try:
        with slow.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute(
                "INSERT INTO monitoring_series (server_id, metric_id, labels, block, slot, created_at)"
                " VALUES (%s, %s, '', 0, 0, now())",
                [one.pk, metric.pk],
            )
            Series.objects.create(server=two, metric=metric, block=0, slot=0)
            assert rulebook(committed.at(0)).server_ids.tolist() == [two.pk]
            cursor.execute("COMMIT")
    finally:
        slow.close()
    assert rulebook(committed.at(0)).server_ids.tolist() == [one.pk, two.pk]


@pytest.mark.django_db(transaction=True)
def test_series_are_counted_only_until_none_can_have_been_overlooked(committed: Scene) -> None:
    committed.threshold(critical=85)
    committed.sample(0, 1)
    rulebook(committed.at(0))
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_current_xact_id()")
    rulebook(committed.at(1))
    assert rules._kept is not None
    assert rules._kept.census is None
