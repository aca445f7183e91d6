"""What no sample decides: silence that alerts, and problems that nobody watches any more."""

from __future__ import annotations

from datetime import timedelta

import pytest

from alerts.models import Condition, Level, Problem, Progress, Threshold, Watchkeeping
from alerts.rules import sweeping
from alerts.rules.run import evaluate_due
from monitoring import states
from monitoring.history.seal import seal_due
from monitoring.models import Collector, Server, ServerGroup, ServerTemplate, Simulation, Source
from monitoring.pausing import pause_servers
from monitoring.queries.samples import fingerprint
from tests.alerts.rules.conftest import ABOVE, NO_DATA, Scene, labelled
from tests.cast import person


def keep_sweeping(scene: Scene, start: int, end: int) -> None:
    for second in range(start, end + 1, 10):
        scene.sweep(second)


# --- Silence ----------------------------------------------------------------------------------------------------------


def test_silence_alerts_after_its_time_and_data_ends_it(scene: Scene) -> None:
    scene.threshold(critical=85, no_data_after_s=60, no_data_level="critical")
    scene.judge(0, 10)
    keep_sweeping(scene, 0, 50)
    assert scene.problems() == []
    keep_sweeping(scene, 60, 70)
    assert scene.problems() == [("alpha", "cpu", NO_DATA, "critical")]
    assert Problem.objects.get().began_at == scene.at(0)
    scene.judge(75, 10)
    assert (scene.problems(), Problem.objects.count()) == ([], 1)


def test_silence_is_told_once(scene: Scene) -> None:
    scene.threshold(no_data_after_s=60)
    scene.judge(0, 10)
    keep_sweeping(scene, 0, 200)
    assert Problem.objects.count() == 1


def test_silence_in_both_directions_is_one_problem_of_the_worse_level(scene: Scene) -> None:
    scene.threshold(no_data_after_s=60, no_data_level="info")
    scene.threshold(direction="below", no_data_after_s=60, no_data_level="critical")
    scene.judge(0, 10)
    keep_sweeping(scene, 0, 70)
    assert scene.problems() == [("alpha", "cpu", NO_DATA, "critical")]


def test_one_silent_series_among_others_is_found(scene: Scene) -> None:
    scene.threshold("disk_used_share", no_data_after_s=60)
    root, home = labelled("disk_used_share", mount="/"), labelled("disk_used_share", mount="/home")
    scene.frames([(0, "alpha", {root: 5.0, home: 5.0})], 0)
    for second in range(0, 71, 10):
        scene.frames([(second + 1, "alpha", {root: 5.0})], second + 1)
        scene.sweep(second + 2)
    assert scene.problems() == [("alpha", 'disk_used_share{"mount":"/home"}', NO_DATA, "warning")]


def test_nobody_is_silent_while_samples_wait_to_be_evaluated(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.threshold(critical=85, no_data_after_s=60)
    scene.judge(0, 10)
    keep_sweeping(scene, 0, 50)
    scene.sample(60, 10)
    monkeypatch.setattr("alerts.rules.run.evaluate_due", lambda now: 0)
    scene.sweep(61)
    assert scene.problems() == []


def test_after_the_portal_was_away_nobody_is_silent_until_it_has_listened(scene: Scene) -> None:
    scene.threshold(no_data_after_s=60)
    for number in range(20):
        scene.judge(0, 10, f"server {number}")
    scene.sweep(0)
    scene.sweep(7000)
    assert scene.problems() == []
    scene.judge(7010, 10, "server 3")
    keep_sweeping(scene, 7020, 7061)
    assert len(scene.problems()) == 19


@pytest.mark.parametrize("jump", [3600, -3600])
def test_a_clock_that_jumps_makes_nobody_silent_but_who_is_silent_is_found(scene: Scene, jump: int) -> None:
    scene.threshold(no_data_after_s=60)
    scene.judge(0, 10)
    scene.sweep(0)
    keep_sweeping(scene, jump, jump + 50)
    assert scene.problems() == []
    keep_sweeping(scene, jump + 60, jump + 70)
    assert scene.problems() == [("alpha", "cpu", NO_DATA, "warning")]


def test_a_new_threshold_knows_the_samples_that_nobody_watched(scene: Scene) -> None:
    scene.threshold("memory", critical=90)
    scene.judge(0, {"cpu": 1.0, "memory": 1.0})
    keep_sweeping(scene, 0, 120)
    scene.sample(125, {"cpu": 1.0, "memory": 1.0})
    evaluate_due(scene.at(125))
    scene.threshold(no_data_after_s=60)
    keep_sweeping(scene, 130, 180)
    assert scene.problems() == []
    keep_sweeping(scene, 190, 190)
    assert scene.problems() == [("alpha", "cpu", NO_DATA, "warning")]


def test_after_a_pause_silence_counts_from_its_end(scene: Scene) -> None:
    scene.threshold(no_data_after_s=60)
    scene.judge(0, 10)
    scene.sweep(0)
    Server.objects.update(paused=True)
    keep_sweeping(scene, 10, 500)
    Server.objects.update(paused=False)
    keep_sweeping(scene, 510, 560)
    assert scene.problems() == []
    keep_sweeping(scene, 570, 580)
    assert scene.problems() == [("alpha", "cpu", NO_DATA, "warning")]


def test_a_late_sample_does_not_end_silence(scene: Scene) -> None:
    scene.threshold(no_data_after_s=60)
    scene.judge(0, 10)
    keep_sweeping(scene, 0, 400)
    scene.sample(20, 10, arrived=400)
    scene.evaluate(401)
    assert scene.problems() == [("alpha", "cpu", NO_DATA, "warning")]


def test_silence_of_one_threshold_does_not_end_what_the_value_did(scene: Scene) -> None:
    scene.threshold(critical=85, no_data_after_s=60)
    scene.judge(0, 99)
    keep_sweeping(scene, 0, 70)
    assert scene.problems() == [("alpha", "cpu", ABOVE, "critical"), ("alpha", "cpu", NO_DATA, "warning")]


def test_a_raised_level_of_silence_is_told(scene: Scene) -> None:
    threshold = scene.threshold(no_data_after_s=60)
    scene.judge(0, 10)
    keep_sweeping(scene, 0, 70)
    threshold.no_data_level = Level.CRITICAL
    threshold.save(update_fields=["no_data_level"])
    scene.sweep(80)
    assert scene.problems() == [("alpha", "cpu", NO_DATA, "critical")]
    assert Problem.objects.count() == 1


# --- Not watched any more ---------------------------------------------------------------------------------------------


def broken(scene: Scene, **fields: object) -> None:
    scene.threshold(critical=85, **fields)
    scene.judge(0, 99)
    assert len(scene.problems()) == 1


def test_a_deleted_threshold_ends_its_problems(scene: Scene) -> None:
    broken(scene)
    Problem.objects.get().threshold.delete()  # type: ignore[union-attr]
    scene.sweep(5)
    assert scene.ended() == [("alpha", ABOVE, sweeping.GONE)]
    assert scene.state() == "healthy"


def test_a_disabled_threshold_ends_its_problems(scene: Scene) -> None:
    broken(scene)
    threshold = Problem.objects.get().threshold
    assert threshold is not None
    threshold.enabled = False
    threshold.save(update_fields=["enabled"])
    scene.sweep(5)
    assert scene.ended() == [("alpha", ABOVE, sweeping.OFF)]


def test_a_narrower_threshold_without_limits_exempts(scene: Scene) -> None:
    broken(scene)
    scene.threshold(scope="server", server=scene.server())
    scene.sweep(5)
    assert scene.ended() == [("alpha", ABOVE, sweeping.NARROWER)]


def test_a_threshold_that_lost_its_limits_ends_its_problems(scene: Scene) -> None:
    broken(scene)
    Threshold.objects.update(critical=None)
    scene.sweep(5)
    assert scene.ended() == [("alpha", ABOVE, sweeping.EMPTIED)]


def test_a_server_that_moved_out_of_the_scope_ends_its_problems(scene: Scene) -> None:
    broken(scene, scope="group", group=scene.group)
    Server.objects.update(group=ServerGroup.objects.create(name="Elsewhere"))
    scene.sweep(5)
    assert scene.ended() == [("alpha", ABOVE, sweeping.ELSEWHERE)]


def test_an_override_without_limits_ends_its_problems_and_what_is_broken_then_fires_again(scene: Scene) -> None:
    broken(scene)
    threshold = Problem.objects.get().threshold
    assert threshold is not None
    threshold.override_until = scene.at(100)
    threshold.save(update_fields=["override_until"])
    scene.sweep(5)
    assert scene.ended() == [("alpha", ABOVE, sweeping.OVERRIDDEN)]
    scene.judge(50, 99)
    assert scene.problems() == []
    scene.judge(100, 99)
    assert scene.problems() == [("alpha", "cpu", ABOVE, "critical")]


def test_a_paused_server_ends_its_problems_and_stays_paused(scene: Scene) -> None:
    broken(scene)
    pause_servers([scene.server()], by=person("admin"))
    scene.sweep(5)
    assert scene.ended() == [("alpha", ABOVE, states.PAUSED)]
    assert scene.state() == "paused"


def test_a_server_with_all_its_sources_paused_ends_its_problems(scene: Scene) -> None:
    Source.objects.create(server=scene.server(), collector=Collector.HOST)
    broken(scene)
    Source.objects.update(paused=True)
    scene.sweep(5)
    assert scene.ended() == [("alpha", ABOVE, states.SOURCES_PAUSED)]


def test_a_paused_simulation_ends_the_problems_of_its_servers_alone(scene: Scene) -> None:
    template = ServerTemplate.objects.create(name="web", kind="web", profile={})
    scene.server("generated", template=template)
    scene.threshold(critical=85)
    scene.judge(0, 99, "generated")
    scene.judge(0, 99, "real")
    Simulation.objects.update_or_create(pk=1, defaults={"paused": True})
    scene.sweep(5)
    assert [server for server, *_ in scene.problems()] == ["real"]


def test_a_deleted_server_ends_its_problems(scene: Scene) -> None:
    broken(scene)
    scene.server().delete()
    scene.sweep(5)
    assert not Problem.objects.filter(resolved_at=None).exists()


def test_a_threshold_that_no_longer_listens_ends_the_silence(scene: Scene) -> None:
    threshold = scene.threshold(critical=85, no_data_after_s=60)
    scene.judge(0, 10)
    keep_sweeping(scene, 0, 70)
    threshold.no_data_after_s = None
    threshold.save(update_fields=["no_data_after_s"])
    scene.sweep(80)
    assert scene.ended() == [("alpha", Condition.NO_DATA, sweeping.EMPTIED)]


# --- Again ------------------------------------------------------------------------------------------------------------


def test_sweeping_again_changes_nothing(scene: Scene) -> None:
    scene.threshold(critical=85, no_data_after_s=60)
    scene.judge(0, 99)
    keep_sweeping(scene, 0, 70)
    before = (list(Problem.objects.values()), list(Progress.objects.values_list("pk")), fingerprint())
    scene.sweep(70)
    assert (list(Problem.objects.values()), list(Progress.objects.values_list("pk")), fingerprint()) == before


def test_a_break_of_the_watch_is_noted(scene: Scene) -> None:
    scene.sweep(0)
    scene.sweep(30)
    assert Watchkeeping.objects.get().resumed_at == scene.at(0)
    scene.sweep(61)
    assert Watchkeeping.objects.get().resumed_at == scene.at(61)
    scene.sweep(61 - 20)
    assert Watchkeeping.objects.get().resumed_at == scene.at(61) - timedelta(seconds=20)


# --- What is cold by now ----------------------------------------------------------------------------------------------


def sealed_until(second: float, scene: Scene) -> None:
    """Seal every hour that is over at that second."""
    assert seal_due(scene.at(second))


def test_a_new_threshold_knows_samples_that_are_sealed_by_now(scene: Scene) -> None:
    scene.threshold("memory", critical=90)
    scene.judge(0, {"cpu": 1.0, "memory": 1.0})
    keep_sweeping(scene, 0, 20)
    scene.sample(3600, {"cpu": 1.0, "memory": 1.0})
    evaluate_due(scene.at(3600))
    sealed_until(2.5 * 3600, scene)
    Watchkeeping.objects.update(swept_at=scene.at(2.5 * 3600 - 10))
    scene.threshold(no_data_after_s=2 * 3600)
    scene.sweep(2.5 * 3600)
    assert scene.problems() == []


def test_silence_counts_from_the_last_sample_also_when_that_is_sealed(scene: Scene) -> None:
    scene.threshold("memory", critical=90)
    scene.judge(0, {"cpu": 1.0, "memory": 1.0})
    keep_sweeping(scene, 0, 20)
    scene.sample(100, {"cpu": 1.0, "memory": 1.0})
    evaluate_due(scene.at(100))
    sealed_until(2.5 * 3600, scene)
    Watchkeeping.objects.update(swept_at=scene.at(2.5 * 3600 - 10))
    scene.threshold(no_data_after_s=3600)
    scene.sweep(2.5 * 3600)
    assert Problem.objects.get().began_at == scene.at(100)
