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

    `labels` is canonical: keys sorted, as `monitoring.history.frame.canonical_labels` writes it; "" means none.
    `pushed_by` is the token whose budget it counts against.
    """

    server = models.ForeignKey(Server, on_delete=models.CASCADE, related_name="series")
    metric = models.ForeignKey(Metric, on_delete=models.PROTECT, related_name="series")
    labels = models.TextField(default="", blank=True)
    block = models.IntegerField()
    slot = models.SmallIntegerField()
    pushed_by = models.ForeignKey(
        "monitoring.PushToken", on_delete=models.SET_NULL, null=True, related_name="+", db_index=False
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["server", "metric", "labels"], name="series_identity"),
            models.UniqueConstraint(fields=["server", "block", "slot"], name="series_place"),
        ]
        indexes = [
            models.Index(fields=["pushed_by"], condition=models.Q(pushed_by__isnull=False), name="series_pushed_by")
        ]

    def __str__(self) -> str:
        return f"{self.metric.name}{{{self.labels}}}" if self.labels else self.metric.name


class Batch(models.Model):
    """One call of `history.record`, committed with its frames: what evaluators claim, and mark when they are done."""

    recorded_at = models.DateTimeField(db_default=Now())
    origin = models.CharField(max_length=40)
    server_ids = ArrayField(models.BigIntegerField())
    first_at = models.DateTimeField()
    last_at = models.DateTimeField()
    samples = models.IntegerField()
    evaluated_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            models.Index(fields=["recorded_at"], name="batch_recorded_at"),
            models.Index(fields=["id"], condition=models.Q(evaluated_at__isnull=True), name="batch_to_evaluate"),
        ]

    def __str__(self) -> str:
        return f"{self.origin} #{self.pk}"


class KeptFrame(models.Model):
    """Samples of one block of one server at one instant.

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
        abstract = True
        managed = False

    def __str__(self) -> str:
        return f"server {self.server_id} block {self.block} at {self.at:%F %T}"


class WarmFrame(KeptFrame):
    """A row as it came; partitioned by the hour of `at`."""

    class Meta(KeptFrame.Meta):
        db_table = "monitoring_frame"


class LateFrame(KeptFrame):
    """A warm row of an hour that was sealed before it came: it waits here, readable, until it is merged into chunks.

    Not partitioned: a spool of days would make a partition for each of its hours.
    """

    class Meta(KeptFrame.Meta):
        db_table = "monitoring_lateframe"


class Horizon(models.Model):
    """How far history has gone cold; one row.

    Hours before `sealed_until` are in chunks, and days before `compacted_until` in day chunks and roll-ups. `sealing`
    is the hour whose chunks are being written: after a kill they are written anew.
    """

    sealed_until = models.DateTimeField(null=True)
    compacted_until = models.DateTimeField(null=True)
    sealing = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"sealed until {self.sealed_until}, compacted until {self.compacted_until}"


class Segment(models.Model):
    """The instants of one hour or day that several series of a server share; partitioned by the day of `starts_at`.

    `starts_at` is the hour or day, `first_at` and `last_at` are the outermost of its `count` instants, `times` are all
    of them in epoch ms, packed (`monitoring.history.codec`).
    """

    pk = models.CompositePrimaryKey("server_id", "starts_at", "number")
    server_id = models.BigIntegerField()
    starts_at = models.DateTimeField()
    first_at = models.DateTimeField()
    last_at = models.DateTimeField()
    count = models.IntegerField()
    number = models.IntegerField()
    times = models.BinaryField()

    class Meta:
        managed = False
        db_table = "monitoring_segment"

    def __str__(self) -> str:
        return f"server {self.server_id} from {self.starts_at:%F %T}, {self.count} instants"


class Chunk(models.Model):
    """The values of one series at the instants of its server's Segment `number`; partitioned like it.

    Made by SQL in a migration, like the tables beside it; only `monitoring.history` touches them.
    """

    pk = models.CompositePrimaryKey("series_id", "starts_at")
    series_id = models.BigIntegerField()
    starts_at = models.DateTimeField()
    least = models.FloatField()
    most = models.FloatField()
    total = models.FloatField()
    last = models.FloatField()
    count = models.IntegerField()
    number = models.IntegerField()
    vals = models.BinaryField()

    class Meta:
        managed = False
        db_table = "monitoring_chunk"

    def __str__(self) -> str:
        return f"series {self.series_id} from {self.starts_at:%F %T}, {self.count} samples"


class Rollup(models.Model):
    """Count, minimum, maximum, sum and last value of one series in buckets of `step_s`, over one span of its tier.

    `packed` holds the five columns (`monitoring.history.codec`); the spans are those of `monitoring.history.rollup`.
    """

    pk = models.CompositePrimaryKey("step_s", "starts_at", "series_id")
    step_s = models.IntegerField()
    starts_at = models.DateTimeField()
    series_id = models.BigIntegerField()
    packed = models.BinaryField()

    class Meta:
        managed = False
        db_table = "monitoring_rollup"

    def __str__(self) -> str:
        return f"series {self.series_id} from {self.starts_at:%F} by {self.step_s} s"
