"""What is kept of logs. The identity of a line is (instant, what it says)."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models


class LogBlock(models.Model):
    """Up to a thousand lines of one day (UTC), packed by `monitoring.logs.codec`.

    Tier 0: as one push brought them, all of them in one unpartitioned table, which has the transaction (`xid`, xid8)
    that brought them and the way they came (`origin`). Tier 1 and 2: merged, partitioned by `day`, tier 2 found by the
    row of LogSieve that `sieve_id` names. `levels` has bit 1 << level for each of its levels, `servers` are all that it
    has lines of; its instants are first_ns <= at_ns <= last_ns. Rows are replaced, never changed.
    Made by SQL in a migration, like the tables beside it; only `monitoring.logs` touches them.
    """

    pk = models.CompositePrimaryKey("id", "tier", "day")
    day = models.DateField()
    id = models.BigIntegerField()
    first_ns = models.BigIntegerField()
    last_ns = models.BigIntegerField()
    sieve_id = models.BigIntegerField(null=True)
    recorded_at = models.DateTimeField()
    count = models.IntegerField()
    tier = models.SmallIntegerField()
    levels = models.SmallIntegerField()
    origin = models.TextField()
    servers = ArrayField(models.BigIntegerField())
    head = models.BinaryField()
    body = models.BinaryField()

    class Meta:
        managed = False
        db_table = "monitoring_logblock"

    def __str__(self) -> str:
        return f"{self.count} lines of {self.day:%F}, tier {self.tier}"


class LogSieve(models.Model):
    """Which words up to 64 blocks have: bit i of each of the `bits`' eight bytes is block `block_ids[i]`
    (`monitoring.logs.sieve`).
    """

    pk = models.CompositePrimaryKey("day", "id")
    day = models.DateField()
    id = models.BigIntegerField()
    first_ns = models.BigIntegerField()
    last_ns = models.BigIntegerField()
    buckets = models.IntegerField()
    block_ids = ArrayField(models.BigIntegerField())
    bits = models.BinaryField()

    class Meta:
        managed = False
        db_table = "monitoring_logsieve"

    def __str__(self) -> str:
        return f"{len(self.block_ids)} blocks of {self.day:%F}"


class LogCount(models.Model):
    """How many lines of each server, source and level an hour had, by the minute, the quarter and the hour
    (`monitoring.logs.tally`).

    Hours are since the epoch. An hour has one row that is `whole`, and a row for each merge that brought lines of it
    since, which has the minutes alone.
    """

    pk = models.CompositePrimaryKey("day", "id")
    day = models.DateField()
    id = models.BigIntegerField()
    hour = models.IntegerField()
    whole = models.BooleanField()
    minutes = models.BinaryField()
    quarters = models.BinaryField(null=True)
    hours = models.BinaryField(null=True)

    class Meta:
        managed = False
        db_table = "monitoring_logcount"

    def __str__(self) -> str:
        return f"lines of hour {self.hour}"


class LogPush(models.Model):
    """A block that was recorded lately, by what is in it: when a sender repeats it, it is not recorded again."""

    digest = models.BinaryField(primary_key=True)
    recorded_at = models.DateTimeField()

    class Meta:
        managed = False
        db_table = "monitoring_logpush"

    def __str__(self) -> str:
        return bytes(self.digest).hex()
