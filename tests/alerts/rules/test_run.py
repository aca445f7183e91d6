"""From recorded samples to problems: each is judged once, in order, whatever happens to the evaluator."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

import pytest
import structlog
from django.db import DatabaseError, connection, connections, transaction

from alerts import incidents
from alerts.models import Entry, Incident, Problem, ProblemStatus, What
from alerts.rules import judge, patience, run
from alerts.rules.observation import Observation
from monitoring.history import horizon
from monitoring.history.seal import seal_due
from monitoring.models import Batch, Collector, Source
from portal.toolkit.sentence import say
from tests.alerts.rules.conftest import ABOVE, BELOW, Scene, labelled


def fired(scene: Scene) -> int:
    return Entry.objects.filter(what=What.FIRED).count()


def test_the_first_sample_over_its_limit_fires_and_turns_the_server_red(scene: Scene) -> None:
    scene.threshold(critical=85)
    scene.judge(0, 97.2)
    assert scene.problems() == [("alpha", "cpu", ABOVE, "critical")]
    assert scene.state() == "critical"
    problem = Problem.objects.get()
    assert (problem.value, problem.limit, problem.peak, problem.began_at) == (97.2, 85, 97.2, scene.at(0))
    assert not Batch.objects.filter(evaluated_at=None).exists()


def test_a_good_value_ends_it_and_the_server_is_healthy(scene: Scene) -> None:
    scene.threshold(critical=85)
    scene.judge(0, 97)
    scene.judge(5, 99)
    scene.judge(10, 40)
    assert (scene.problems(), scene.state()) == ([], "healthy")
    assert Problem.objects.get().peak == 99


def test_without_thresholds_batches_are_done(scene: Scene) -> None:
    scene.judge(0, 99)
    assert scene.problems() == []
    assert not Batch.objects.filter(evaluated_at=None).exists()


def test_it_is_pending_until_its_time_is_over_also_between_evaluations(scene: Scene) -> None:
    scene.threshold(critical=85, for_s=20)
    scene.judge(0, 90)
    scene.judge(15, 90)
    assert scene.problems() == [("alpha", "cpu", ABOVE, "pending")]
    scene.judge(20, 90)
    assert scene.problems() == [("alpha", "cpu", ABOVE, "critical")]
    assert Problem.objects.get().began_at == scene.at(0)


def test_it_is_over_at_the_clearing_value_only(scene: Scene) -> None:
    scene.threshold(critical=85, clear=70)
    scene.judge(0, 90)
    scene.judge(5, 75)
    assert scene.problems() == [("alpha", "cpu", ABOVE, "critical")]
    scene.judge(10, 70)
    assert scene.problems() == []


def test_a_metric_may_be_bad_in_both_directions(scene: Scene) -> None:
    scene.threshold(critical=85)
    scene.threshold(direction="below", warning=5)
    scene.judge(0, 90)
    scene.judge(5, 3)
    assert scene.problems() == [("alpha", "cpu", BELOW, "warning")]


def test_the_narrowest_threshold_wins_whole_and_a_disabled_one_gives_way(scene: Scene) -> None:
    scene.threshold(critical=85)
    narrow = scene.threshold(scope="server", server=scene.server(), warning=95)
    scene.judge(0, 90)
    assert scene.problems() == []
    narrow.enabled = False
    narrow.save()
    scene.judge(5, 90)
    assert scene.problems() == [("alpha", "cpu", ABOVE, "critical")]


def test_a_problem_goes_on_under_the_threshold_that_wins_now(scene: Scene) -> None:
    scene.threshold(critical=85)
    scene.judge(0, 90)
    narrow = scene.threshold(scope="server", server=scene.server(), critical=80, warning=60)
    scene.judge(5, 88)
    problem = Problem.objects.get()
    assert (problem.threshold, problem.level, problem.fired_at) == (narrow, "critical", scene.at(0))


@pytest.mark.parametrize(("before", "after"), [("critical", "warning"), ("warning", "critical")])
def test_a_problem_that_breaks_the_threshold_that_wins_now_does_not_wait_anew(
    scene: Scene, before: str, after: str
) -> None:
    scene.threshold(for_s=20, **{after: 80})
    narrow = scene.threshold(scope="server", server=scene.server(), **{before: 60})
    scene.judge(0, 90)
    narrow.delete()
    scene.judge(5, 90)
    assert scene.problems() == [("alpha", "cpu", ABOVE, after)]
    assert Incident.objects.count() == 1


def test_what_is_over_because_its_limit_was_changed_says_so(scene: Scene) -> None:
    scene.threshold(critical=85)
    narrow = scene.threshold(scope="server", server=scene.server(), critical=60)
    scene.judge(0, 70)
    narrow.delete()
    scene.judge(5, 71)
    problem = Problem.objects.get()
    assert problem.status == ProblemStatus.RESOLVED
    assert say(problem.ended_because) == "Its limit was changed to 85.0%; the value of 71.0% does not break it."


def test_each_series_with_labels_is_judged_for_itself(scene: Scene) -> None:
    scene.threshold("disk_used_share", critical=90)
    root, home = labelled("disk_used_share", mount="/"), labelled("disk_used_share", mount="/home")
    scene.frames([(0, "alpha", {root: 95.0, home: 20.0})], 0)
    scene.evaluate(0)
    assert scene.problems() == [("alpha", 'disk_used_share{"mount":"/"}', ABOVE, "critical")]
    scene.frames([(5, "alpha", {root: 30.0, home: 91.0})], 5)
    scene.evaluate(5)
    assert scene.problems() == [("alpha", 'disk_used_share{"mount":"/home"}', ABOVE, "critical")]


def test_what_is_pending_waits_anew_after_silence(scene: Scene) -> None:
    Source.objects.create(server=scene.server(), collector=Collector.HOST, interval_s=5)
    scene.threshold(critical=85, for_s=30)
    scene.judge(0, 90)
    scene.judge(31, 90)
    assert scene.problems() == [("alpha", "cpu", ABOVE, "pending")]
    assert Problem.objects.get().critical_since == scene.at(31)


# --- Late, out of order, twice ----------------------------------------------------------------------------------------


def test_a_late_sample_opens_nothing(scene: Scene) -> None:
    Source.objects.create(server=scene.server(), collector=Collector.HOST, interval_s=10)
    scene.threshold(critical=85)
    scene.sample(0, 99, arrived=80.001)
    assert scene.evaluate(81) == 1
    assert scene.problems() == []
    scene.sample(1, 99, arrived=81)
    scene.evaluate(81)
    assert scene.problems() == [("alpha", "cpu", ABOVE, "critical")]


def test_a_late_sample_closes_nothing(scene: Scene) -> None:
    scene.threshold(critical=85)
    scene.judge(0, 99)
    scene.sample(100, 10, arrived=300)
    scene.evaluate(300)
    assert scene.problems() == [("alpha", "cpu", ABOVE, "critical")]


def test_samples_that_waited_for_an_evaluator_are_not_late(scene: Scene) -> None:
    scene.threshold(critical=85)
    scene.sample(0, 99)
    scene.sample(5, 10)
    assert scene.evaluate(3000) == 2
    assert fired(scene) == 1
    assert scene.problems() == []


def test_an_older_sample_does_not_undo_a_newer_one(scene: Scene) -> None:
    scene.threshold(critical=85)
    scene.judge(10, 99)
    scene.sample(5, 10, arrived=11)
    scene.evaluate(11)
    assert scene.problems() == [("alpha", "cpu", ABOVE, "critical")]


def test_samples_of_one_batch_are_judged_in_the_order_of_time(scene: Scene) -> None:
    scene.threshold(critical=85)
    scene.frames([(10, "alpha", {"cpu": 10.0}), (5, "alpha", {"cpu": 99.0}), (0, "alpha", {"cpu": 10.0})], 10)
    scene.evaluate(10)
    assert (fired(scene), scene.problems()) == (1, [])


def test_the_same_body_twice_is_judged_once(scene: Scene) -> None:
    scene.threshold(critical=85)
    for _ in range(2):
        scene.judge(0, 99)
        scene.sample(5, 10)
        scene.judge(5, 10)
    assert (fired(scene), Incident.objects.count()) == (1, 1)


def test_of_two_cuts_of_one_instant_the_first_counts(scene: Scene) -> None:
    scene.threshold(critical=85)
    scene.sample(0, {"cpu": 10.0})
    scene.sample(0, {"cpu": 99.0, "memory": 1.0})
    assert scene.evaluate(0) == 2
    assert scene.problems() == []


def test_the_two_halves_of_one_instant_are_both_judged(scene: Scene) -> None:
    scene.threshold(critical=85)
    scene.threshold("memory", critical=85)
    scene.judge(0, {"cpu": 99.0})
    scene.judge(0, {"memory": 99.0})
    assert len(scene.problems()) == 2


# --- Clocks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("jump", [3600, -3600])
def test_a_clock_that_jumps_silences_nothing_and_ends_nothing(scene: Scene, jump: int) -> None:
    scene.threshold(critical=85)
    scene.judge(0, 99)
    scene.judge(jump + 5, 98)
    assert scene.problems() == [("alpha", "cpu", ABOVE, "critical")]
    scene.judge(jump + 10, 10)
    assert scene.problems() == []
    scene.judge(jump + 15, 97)
    assert scene.problems() == [("alpha", "cpu", ABOVE, "critical")]


def test_after_a_clock_was_set_back_the_wait_is_no_longer_than_asked(scene: Scene) -> None:
    scene.threshold(critical=85, for_s=10)
    scene.judge(3600, 99)
    for second in (5, 10, 15):
        scene.judge(second, 99)
    assert scene.problems() == [("alpha", "cpu", ABOVE, "critical")]


def test_an_agent_whose_clock_is_ahead_is_judged_in_its_own_order(scene: Scene) -> None:
    scene.threshold(critical=85)
    scene.sample(120, 99, arrived=0)
    scene.evaluate(0)
    scene.sample(125, 10, arrived=5)
    scene.evaluate(5)
    assert (fired(scene), scene.problems()) == (1, [])


# --- Many -------------------------------------------------------------------------------------------------------------


def test_two_hundred_changes_in_one_batch_are_two_hundred(scene: Scene) -> None:
    scene.threshold(critical=85)
    scene.frames([(i * 0.5, "alpha", {"cpu": 90.0 + i if i % 2 else 10.0}) for i in range(1, 201)], 100)
    scene.evaluate(100)
    assert Problem.objects.filter(status=ProblemStatus.RESOLVED).count() == 100
    assert fired(scene) == 100


def test_one_server_with_a_day_of_samples_does_not_widen_the_others(scene: Scene) -> None:
    scene.threshold(critical=85)
    frames = [(i * 0.1, "alpha", {"cpu": 20.0}) for i in range(1000)]
    frames += [(99.0, f"server {i}", {"cpu": 99.0}) for i in range(30)]
    scene.frames(frames, 100)  # type: ignore[arg-type]
    scene.evaluate(100)
    assert len(scene.problems()) == 30


def test_batches_beyond_one_transaction_are_all_judged(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alerts.rules.run.SAMPLES_AT_ONCE", 3)
    scene.threshold(critical=85)
    for second in range(10):
        scene.sample(second, 90 if second % 2 else 10)
    assert scene.evaluate(10) == 10
    assert fired(scene) == 5


def test_a_quiet_tick_costs_the_same_however_many_servers(scene: Scene, django_assert_max_num_queries: object) -> None:
    scene.threshold(critical=85)
    for tick in range(2):
        scene.frames([(tick, f"server {i}", {"cpu": 20.0}) for i in range(20)], tick)
        if tick == 0:
            scene.evaluate(tick)
    with django_assert_max_num_queries(20):  # type: ignore[operator]
        scene.evaluate(2)


# --- Killed, crowded, poisoned ----------------------------------------------------------------------------------------


def test_an_evaluator_killed_before_its_commit_leaves_everything_to_the_next(
    committed: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    committed.threshold(critical=85)
    committed.sample(0, 99)
    really = incidents.apply

    def apply_and_die(observations: list[Observation], now: object) -> None:
        really(observations, now)  # type: ignore[arg-type]
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    with monkeypatch.context() as dying:
        dying.setattr(incidents, "apply", apply_and_die)
        assert committed.evaluate(1) == 0
    connection.close()
    assert (Incident.objects.count(), Batch.objects.filter(evaluated_at=None).count()) == (0, 1)
    assert committed.evaluate(2) == 1
    assert (fired(committed), committed.problems()) == (1, [("alpha", "cpu", ABOVE, "critical")])


def test_an_evaluator_that_hangs_loses_its_lease(committed: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "HUNG_AFTER_MS", 300)
    committed.threshold(critical=85)
    committed.sample(0, 99)
    taken, over = threading.Event(), threading.Event()

    def hang() -> None:
        with suppress(DatabaseError), transaction.atomic():
            assert run._is_alone()
            taken.set()
            over.wait(10)
        connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        hanging = pool.submit(hang)
        assert taken.wait(5)
        assert committed.evaluate(1) == 0
        time.sleep(0.6)
        assert committed.evaluate(2) == 1
        over.set()
        hanging.result()
    assert fired(committed) == 1


def test_two_evaluators_at_once_judge_nothing_twice(committed: Scene) -> None:
    committed.threshold(critical=85)
    for second in range(30):
        committed.sample(second, 99 if second % 2 == 0 else 10)

    def evaluate() -> int:
        try:
            return committed.evaluate(30)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        done = [future.result() for future in [pool.submit(evaluate) for _ in range(4)]]
    assert sum(done) == 30
    assert (fired(committed), Batch.objects.filter(evaluated_at=None).count()) == (15, 0)


def test_one_poisoned_server_stops_nobody_else(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.threshold(critical=85)
    bad = scene.server("bad")
    scene.frames([(0, f"server {i}", {"cpu": 99.0}) for i in range(9)] + [(0, "bad", {"cpu": 99.0})], 0)
    poison(monkeypatch, bad.pk)
    with structlog.testing.capture_logs() as logs:
        scene.evaluate(1)
    assert len(scene.problems()) == 9
    assert [entry["server"] for entry in logs if "server" in entry] == [bad.pk]
    scene.judge(5, 99, "server 9")
    assert len(scene.problems()) == 10


def test_a_poisoned_server_is_judged_when_it_can_be_again(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.threshold(critical=85)
    bad = scene.server("bad")
    scene.frames([(0, "good", {"cpu": 99.0}), (0, "bad", {"cpu": 99.0})], 0)
    with monkeypatch.context() as poisoned:
        poison(poisoned, bad.pk)
        scene.evaluate(1)
    assert scene.evaluate(2) == 0
    end_all_pauses()
    assert scene.evaluate(10) == 1
    assert [server for server, *_ in scene.problems()] == ["bad", "good"]


def test_what_fails_again_and_again_is_given_up_loudly(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.threshold(critical=85)
    batch = scene.sample(0, 99, "bad")
    poison(monkeypatch, scene.server("bad").pk)
    with structlog.testing.capture_logs() as logs:
        for _ in range(patience.TRIES):
            scene.evaluate(1)
            end_all_pauses()
    batch.refresh_from_db()
    assert batch.evaluated_at is not None
    assert [entry["event"] for entry in logs][-1] == "evaluation_given_up"


def end_all_pauses() -> None:
    for batch_id, failure in patience._failures.items():
        patience._failures[batch_id] = replace(failure, next_try_at=time.monotonic())


def poison(monkeypatch: pytest.MonkeyPatch, server_id: int) -> None:
    """Judging that server raises."""
    really = judge.incidents.apply

    def apply(observations: list[Observation], now: object) -> None:
        if any(one.server_id == server_id for one in observations):
            raise ZeroDivisionError
        really(observations, now)  # type: ignore[arg-type]

    monkeypatch.setattr(judge.incidents, "apply", apply)


def test_evaluation_goes_on_while_history_is_sealed_or_compacted(committed: Scene) -> None:
    committed.threshold(critical=85)
    committed.sample(0, 99)

    def evaluate() -> int:
        try:
            return committed.evaluate(1)
        finally:
            connections.close_all()

    with horizon.alone() as alone, ThreadPoolExecutor(1) as pool:
        assert alone
        assert pool.submit(evaluate).result() == 1
    assert committed.problems() == [("alpha", "cpu", ABOVE, "critical")]


def test_a_sample_that_is_not_late_for_its_server_is_judged_although_its_hour_is_sealed(scene: Scene) -> None:
    Source.objects.create(server=scene.server(), collector=Collector.HOST, interval_s=3600)
    scene.threshold(critical=85)
    scene.judge(0, 10)
    assert seal_due(scene.at(5400))
    scene.sample(10, 99, arrived=5401)
    scene.evaluate(5402)
    assert scene.problems() == [("alpha", "cpu", ABOVE, "critical")]
