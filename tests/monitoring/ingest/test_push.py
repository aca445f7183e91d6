"""POST /api/push: what is taken can be read back, what is not is named."""

from __future__ import annotations

import time

import pytest

from monitoring.history.frame import SeriesName
from monitoring.history.read import read
from monitoring.models import PushToken, Server
from tests.monitoring.ingest.conftest import push

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("empty_redis")]


def test_what_is_answered_with_200_is_read_back(token: PushToken) -> None:
    at = time.time() - 5
    answer = push(token, {"host": "web-1", "at": at, "metrics": {"cpu": 12.5, 'queue{name="a"}': 3}})
    assert (answer.status, answer.body["kept"]) == (200, 2), answer
    server = Server.objects.get(name="web-1")
    names = [SeriesName("cpu"), SeriesName("queue", '{"name":"a"}')]
    tracks = read(server.pk, names, round(at * 1000), round(at * 1000) + 1)
    assert tracks.values.tolist() == [[12.5], [3.0]]
