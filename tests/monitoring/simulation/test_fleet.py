"""The simulated fleet: the same after every restart, due by the database, paused by an admin."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from django.utils import timezone

from monitoring import hot
from monitoring.catalogue import BY_NAME
from monitoring.history.frame import SeriesName
from monitoring.history.read import read
from monitoring.models import Server, ServerGroup, ServerTemplate, Simulation, WarmFrame
from monitoring.simulation.fleet import _fleet, ensure_fleet, fleet_frames, simulate_due
from monitoring.simulation.signal import noise, values
from monitoring.simulation.templates import TEMPLATES

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("empty_redis")]


@pytest.fixture
def now() -> datetime:
    """An instant of the fleet's grid."""
    return datetime.fromtimestamp((timezone.now().timestamp() - 2.5) // 5 * 5 + 2.5, UTC)


def test_thirty_servers_have_every_kind_and_are_marked(group: ServerGroup) -> None:
    ensure_fleet(30, group)
    kinds = set(Server.objects.values_list("kind", flat=True))
    assert kinds == {template.kind for template in TEMPLATES}
    assert Server.objects.filter(simulated=True).count() == 30


def test_a_fleet_made_again_is_the_same_and_a_smaller_one_loses_the_last(group: ServerGroup) -> None:
    ensure_fleet(12, group)
    before = dict(Server.objects.values_list("name", "pk"))
    ensure_fleet(12, group)
    assert dict(Server.objects.values_list("name", "pk")) == before
    ensure_fleet(3, group)
    assert set(Server.objects.values_list("name", flat=True)) < set(before)
    ensure_fleet(0, group)
    assert not Server.objects.exists()


def test_a_server_that_an_admin_gave_a_template_is_not_ours_to_remove(group: ServerGroup) -> None:
    ensure_fleet(3, group)
    Server.objects.create(name="billing", group=group, template=ServerTemplate.objects.get(name="web"))
    ensure_fleet(0, group)
    assert Server.objects.get().name == "billing"


def test_templates_name_metrics_of_the_catalogue_and_an_admins_edit_stays(group: ServerGroup) -> None:
    ensure_fleet(1, group)
    assert all(metric in BY_NAME for template in TEMPLATES for metric in template.profile)
    ServerTemplate.objects.filter(name="web").update(profile={"cpu": {"base": 1, "daily": 0, "weekly": 0, "noise": 0}})
    ensure_fleet(1, group)
    assert ServerTemplate.objects.get(name="web").profile["cpu"]["base"] == 1


def test_the_same_instant_gives_the_same_numbers_within_range_and_resolution(group: ServerGroup) -> None:
    ensure_fleet(30, group)
    first, again = (list(fleet_frames(_fleet(), 1_790_000_000_000)) for _ in range(2))
    assert all(np.array_equal(a.values, b.values) for a, b in zip(first, again, strict=True))
    for frame in first:
        for name, value in zip(frame.layout, frame.values, strict=True):
            metric = BY_NAME[name.metric]
            assert (metric.minimum or 0) <= value <= (np.inf if metric.maximum is None else metric.maximum)
            assert value == pytest.approx(round(value / metric.resolution) * metric.resolution)


def test_noise_is_smooth_over_time_and_differs_between_servers() -> None:
    seeds = np.arange(1, 200, dtype=np.uint64)
    steps = [np.abs(noise(seeds, t + 1.0) - noise(seeds, t)).max() for t in np.arange(0.0, 600.0, 7.0)]
    assert max(steps) < 0.25
    assert np.std(noise(seeds, 100.0)) > 0.2


def test_the_daily_rhythm_is_seen_and_constants_stay_constant() -> None:
    profile = np.array([(50.0, 20.0, 0.0, 1.0), (16.0, 0.0, 0.0, 0.0)])
    seeds = np.arange(1, 50, dtype=np.uint64)
    noon, night = (values(profile, seeds, 1_790_000_000 // 86400 * 86400 + hour * 3600.0) for hour in (13, 1))
    assert (noon[:, 0] - night[:, 0]).mean() > 30
    assert (noon[:, 1] == 16.0).all()


def test_a_new_fleet_has_a_past_and_then_one_instant_every_five_seconds(group: ServerGroup, now: datetime) -> None:
    ensure_fleet(5, group)
    assert [simulate_due(now + timedelta(seconds=s)) for s in (-5, -5, -1, 0, 4)] == [181, 0, 0, 1, 0]
    ids = list(Server.objects.values_list("pk", flat=True))
    assert set(hot.newest_at(ids).values()) == {int(now.timestamp() * 1000)}


def test_after_an_outage_the_past_is_filled_without_a_gap_but_not_for_ever(group: ServerGroup, now: datetime) -> None:
    ensure_fleet(2, group)
    simulate_due(now - timedelta(minutes=5))
    assert simulate_due(now) == 60
    server = Server.objects.first()
    assert server is not None
    start, end = (int(at.timestamp() * 1000) for at in (now - timedelta(minutes=5), now))
    tracks = read(server.pk, [SeriesName("cpu")], start, end + 1)
    assert (len(tracks.at_ms), int(np.isnan(tracks.values).sum())) == (61, 0)
    Simulation.objects.update(generated_until=now - timedelta(days=2))
    assert simulate_due(now) <= 181


def test_a_pause_stays_a_gap(group: ServerGroup, now: datetime) -> None:
    ensure_fleet(2, group)
    simulate_due(now - timedelta(minutes=5))
    Simulation.objects.update(paused=True)
    simulate_due(now - timedelta(seconds=5))
    Simulation.objects.update(paused=False)
    assert simulate_due(now) == 1


def test_after_the_clock_was_set_back_it_goes_on(group: ServerGroup, now: datetime) -> None:
    ensure_fleet(2, group)
    simulate_due(now)
    earlier = now - timedelta(hours=1)
    assert [simulate_due(earlier + timedelta(seconds=s)) for s in (0, 5)] == [1, 1]


def test_paused_it_generates_nothing_and_a_paused_server_is_left_out(group: ServerGroup, now: datetime) -> None:
    ensure_fleet(3, group)
    Server.objects.filter(pk=Server.objects.first().pk).update(paused=True)  # type: ignore[union-attr]
    simulate_due(now)
    assert WarmFrame.objects.values("server_id").distinct().count() == 2
    Simulation.objects.update(paused=True)
    assert simulate_due(now + timedelta(seconds=5)) == 0
