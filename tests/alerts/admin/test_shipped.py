"""What a fresh portal watches from its first minute."""

from __future__ import annotations

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from alerts.models import Threshold

pytestmark = pytest.mark.django_db


def shipped() -> dict[str, Threshold]:
    return {one.metric.name: one for one in Threshold.objects.select_related("metric")}


def test_what_is_watched_and_from_when_on_it_alerts() -> None:
    known = shipped()
    assert {name: (one.scope, one.direction, one.warning, one.critical, one.for_s) for name, one in known.items()} == {
        "cpu": ("all", "above", None, 85.0, 0),
        "memory": ("all", "above", None, 90.0, 0),
        "check_up": ("all", "below", None, 1.0, 30),
        "certificate_days": ("all", "below", 14.0, 3.0, 0),
        "db_connections_share": ("all", "above", 90.0, None, 0),
        "cache_memory_share": ("all", "above", 95.0, None, 0),
        "containers": ("all", "below", None, None, 0),
        "pods_pending": ("all", "below", None, None, 0),
        "machines": ("all", "below", None, None, 0),
        "job_overdue": ("all", "above", None, 0.0, 0),
        "job_failed": ("all", "above", None, 0.0, 0),
    }
    assert all(one.enabled for one in known.values())


def test_a_server_that_falls_silent_is_told_of_once_by_cpu() -> None:
    known = shipped()
    assert (known["cpu"].no_data_after_s, known["cpu"].no_data_level) == (300, "critical")
    assert known["memory"].no_data_after_s is None


def test_an_engine_a_cluster_and_a_cloud_that_fall_silent_are_told_of() -> None:
    known = shipped()
    for name in ("containers", "pods_pending", "machines"):
        assert (known[name].no_data_after_s, known[name].no_data_level) == (300, "critical"), name


def test_they_are_thresholds_that_the_form_would_take() -> None:
    for one in shipped().values():
        one.full_clean()


def test_their_history_says_where_they_come_from() -> None:
    for one in shipped().values():
        version = one.history.get()
        assert (version.history_type, version.history_user, version.critical) == ("+", None, one.critical)
        assert version.history_change_reason == "Shipped with OpenManager."


def test_one_that_was_deleted_does_not_come_back() -> None:
    shipped()["memory"].delete()
    call_command("migrate", verbosity=0)
    assert "memory" not in shipped()


def test_it_can_be_taken_back_and_leaves_what_an_admin_added() -> None:
    metric = shipped()["cpu"].metric
    Threshold.objects.create(metric=metric, direction="below", critical=1)
    _migrate("0001_first")
    assert [one.direction for one in Threshold.objects.all()] == ["below"]
    _migrate("0002_shipped_thresholds")
    assert Threshold.objects.count() == 3
    _migrate("0003_shipped_checks")
    assert Threshold.objects.count() == 7
    _migrate("0004_shipped_finders")
    assert Threshold.objects.count() == 10
    _migrate("0005_shipped_jobs")
    assert Threshold.objects.count() == 12


def _migrate(name: str) -> None:
    executor = MigrationExecutor(connection)
    executor.migrate([("alerts", name)])
