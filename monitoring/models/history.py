"""What is kept of samples. The identity of a sample is (series, instant)."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now

from monitoring.models.metric import Metric
from monitoring.models.server import Server

SLOTS_PER_BLOCK = 64


class Series(models.Model):
    """One metric of one server, told apart by labels; it lives in one slot of one block of its server.

    `labels` is canonical: keys sorted, as `monitoring.history.series.canonical_labels` writes it; "" means none.
    """

    server = models.ForeignKey(Server, on_delete=models.CASCADE, related_name="series")
    metric = models.ForeignKey(Metric, on_delete=models.PROTECT, related_name="series")
    labels = models.TextField(default="", blank=True)
    block = models.IntegerField()
    slot = models.SmallIntegerField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["server", "metric", "labels"], name="series_identity"),
            models.UniqueConstraint(fields=["server", "block", "slot"], name="series_place"),
        ]

    def __str__(self) -> str:
        return f"{self.metric.name}{{{self.labels}}}" if self.labels else self.metric.name


class Batch(models.Model):
    """One call of `history.record`, committed with its frames: what evaluators claim."""

    recorded_at = models.DateTimeField(db_default=Now())
    origin = models.CharField(max_length=40)
    server_ids = ArrayField(models.BigIntegerField())
    first_at = models.DateTimeField()
    last_at = models.DateTimeField()
    samples = models.IntegerField()

    class Meta:
        indexes = [models.Index(fields=["recorded_at"], name="batch_recorded_at")]

    def __str__(self) -> str:
        return f"{self.origin} #{self.pk}"


class WarmFrame(models.Model):
    """Samples of one block of one server at one instant; partitioned by the hour of `at`.

    Bit i of `present` (a signed 64-bit pattern) says that slot i has a value; `vals` holds them in slot order,
    little-endian float64. The same body repeated meets its own key and is skipped. Another cut of the same instant
    (a sender that shards series over requests) is a second row; per (series, at) the lower batch, the first, wins.
    Made by SQL in a migration; only `monitoring.history` touches it.
    """

    pk = models.CompositePrimaryKey("server_id", "block", "at", "present")
    server_id = models.BigIntegerField()
    block = models.IntegerField()
    at = models.DateTimeField()
    present = models.BigIntegerField()
    batch_id = models.BigIntegerField()
    vals = models.BinaryField()

    class Meta:
        managed = False
        db_table = "monitoring_frame"

    def __str__(self) -> str:
        return f"server {self.server_id} block {self.block} at {self.at:%F %T}"
