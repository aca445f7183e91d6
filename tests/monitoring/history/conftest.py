from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connection, transaction
from django.utils import timezone

from monitoring.history import chunks, partitions
from monitoring.models import Batch, Horizon

DAY_MS = chunks.DAY_MS


@pytest.fixture
def past() -> int:
    """Midnight (UTC) three days ago, epoch ms: from here on, whole days can be sealed."""
    return (int(timezone.now().timestamp() * 1000) // DAY_MS - 3) * DAY_MS


def empty_history() -> None:
    """As if nothing had ever been recorded, but for the names of series."""
    with transaction.atomic():
        for hour in partitions.existing():
            partitions.drop(hour)
        for day in chunks.days():
            chunks.drop_day(day)
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM monitoring_lateframe")
            cursor.execute("DELETE FROM monitoring_rollup")
        Batch.objects.all().delete()
        Horizon.objects.all().delete()
    partitions.forget()


@pytest.fixture
def committed_history(transactional_db: None) -> Iterator[None]:
    """For tests that commit: the tables of history are none that Django empties."""
    empty_history()
    yield
    empty_history()
