"""Wake-ups: one waits at a time, none blocks, and none is needed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest
from django.db import transaction
from django.utils import timezone
from pytest_django import Settings

from alerts import tasks
from alerts.models import Problem, Threshold
from alerts.wake import taken, wake
from monitoring.history import partitions, series
from monitoring.history.frame import Frame
from monitoring.history.record import record
from monitoring.models import Batch, Metric, Server, ServerGroup
from portal.toolkit import redis

pytestmark = pytest.mark.usefixtures("empty_redis")


@pytest.fixture
def empty_redis() -> Iterator[None]:
    redis.client().flushdb()
    yield
    redis.client().flushdb()


@pytest.fixture
def no_redis(empty_redis: None, settings: Settings) -> Iterator[None]:
    redis.client.cache_clear()
    settings.REDIS_URL = "redis://127.0.0.1:1"
    yield
    redis.client.cache_clear()


def waiting() -> list[str]:
    """The names of the tasks in the queue."""
    messages = redis.client().lrange("fast", 0, -1)
    assert isinstance(messages, list)
    return [json.loads(message)["headers"]["task"] for message in messages]


def a_sample(value: float = 99.0) -> None:
    partitions.forget()
    series._plans.clear()
    group, _ = ServerGroup.objects.get_or_create(name="Machines")
    server, _ = Server.objects.get_or_create(name="alpha", group=group)
    record([Frame.of(server.pk, int(timezone.now().timestamp() * 1000), {"cpu": value})], origin="test")


def test_recorded_samples_wake_the_evaluator_once_until_it_looks(transactional_db: None) -> None:
    a_sample()
    a_sample()
    assert waiting() == ["alerts.tasks.evaluate_task"]
    taken(tasks.evaluate_task)
    a_sample()
    assert waiting() == ["alerts.tasks.evaluate_task"] * 2


def test_each_task_has_a_wake_up_of_its_own(transactional_db: None) -> None:
    wake(tasks.evaluate_task)
    wake(tasks.deliver_task)
    assert sorted(waiting()) == ["alerts.tasks.deliver_task", "alerts.tasks.evaluate_task"]


def test_a_lost_wake_up_stands_in_the_way_for_a_second_only(transactional_db: None) -> None:
    wake(tasks.evaluate_task)
    redis.client().delete("fast")
    time.sleep(1.1)
    wake(tasks.evaluate_task)
    assert len(waiting()) == 1


def test_nobody_is_woken_for_what_was_rolled_back(transactional_db: None) -> None:
    with transaction.atomic():
        wake(tasks.evaluate_task)
        transaction.set_rollback(True)
    assert waiting() == []


@pytest.mark.usefixtures("no_redis")
def test_without_redis_samples_are_recorded_and_judged_without_waiting(transactional_db: None) -> None:
    began = time.monotonic()
    a_sample()
    tasks.evaluate_task()
    assert time.monotonic() - began < 2
    assert not Batch.objects.filter(evaluated_at=None).exists()


def test_the_task_judges_what_is_due(transactional_db: None) -> None:
    Threshold.objects.all().delete()
    Threshold.objects.create(metric=Metric.objects.get_or_create(name="cpu")[0], critical=85)
    a_sample()
    tasks.evaluate_task()
    tasks.sweep_task()
    assert Problem.objects.filter(status="firing").count() == 1
