from django.db import migrations, models

# Chunks and segments are partitioned by the day: a compacted day replaces its hours, and an old one leaves, as a whole
# table, so that nothing dead is left behind. No foreign keys, as in monitoring_frame.
# What is packed does not compress: EXTERNAL keeps PostgreSQL from trying. The columns stand so that nothing is padded.
CREATE = """
CREATE TABLE monitoring_lateframe (
    server_id bigint NOT NULL,
    block integer NOT NULL,
    at timestamptz NOT NULL,
    present bigint NOT NULL,
    batch_id bigint NOT NULL,
    vals bytea NOT NULL,
    PRIMARY KEY (server_id, block, at, present)
);
CREATE TABLE monitoring_segment (
    server_id bigint NOT NULL,
    starts_at timestamptz NOT NULL,
    first_at timestamptz NOT NULL,
    last_at timestamptz NOT NULL,
    count integer NOT NULL,
    number integer NOT NULL,
    times bytea NOT NULL,
    PRIMARY KEY (server_id, starts_at, number)
) PARTITION BY RANGE (starts_at);
ALTER TABLE monitoring_segment ALTER COLUMN times SET STORAGE EXTERNAL;
CREATE TABLE monitoring_chunk (
    series_id bigint NOT NULL,
    starts_at timestamptz NOT NULL,
    least double precision NOT NULL,
    most double precision NOT NULL,
    total double precision NOT NULL,
    last double precision NOT NULL,
    count integer NOT NULL,
    number integer NOT NULL,
    vals bytea NOT NULL,
    PRIMARY KEY (series_id, starts_at)
) PARTITION BY RANGE (starts_at);
ALTER TABLE monitoring_chunk ALTER COLUMN vals SET STORAGE EXTERNAL;
CREATE TABLE monitoring_rollup (
    step_s integer NOT NULL,
    starts_at timestamptz NOT NULL,
    series_id bigint NOT NULL,
    packed bytea NOT NULL,
    PRIMARY KEY (step_s, starts_at, series_id)
);
ALTER TABLE monitoring_rollup ALTER COLUMN packed SET STORAGE EXTERNAL
"""
DROP = "DROP TABLE monitoring_lateframe, monitoring_segment, monitoring_chunk, monitoring_rollup"


class Migration(migrations.Migration):
    dependencies = [
        ("monitoring", "0004_evaluated_batches"),
    ]

    operations = [
        migrations.RunSQL(CREATE, DROP),
        migrations.CreateModel(
            name="Chunk",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "series_id", "starts_at", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("series_id", models.BigIntegerField()),
                ("starts_at", models.DateTimeField()),
                ("least", models.FloatField()),
                ("most", models.FloatField()),
                ("total", models.FloatField()),
                ("last", models.FloatField()),
                ("count", models.IntegerField()),
                ("number", models.IntegerField()),
                ("vals", models.BinaryField()),
            ],
            options={
                "db_table": "monitoring_chunk",
                "managed": False,
            },
        ),
        migrations.CreateModel(
            name="LateFrame",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "server_id",
                        "block",
                        "at",
                        "present",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("server_id", models.BigIntegerField()),
                ("block", models.IntegerField()),
                ("at", models.DateTimeField()),
                ("present", models.BigIntegerField()),
                ("batch_id", models.BigIntegerField()),
                ("vals", models.BinaryField()),
            ],
            options={
                "db_table": "monitoring_lateframe",
                "managed": False,
            },
        ),
        migrations.CreateModel(
            name="Rollup",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "step_s",
                        "starts_at",
                        "series_id",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("step_s", models.IntegerField()),
                ("starts_at", models.DateTimeField()),
                ("series_id", models.BigIntegerField()),
                ("packed", models.BinaryField()),
            ],
            options={
                "db_table": "monitoring_rollup",
                "managed": False,
            },
        ),
        migrations.CreateModel(
            name="Segment",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "server_id",
                        "starts_at",
                        "number",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("server_id", models.BigIntegerField()),
                ("starts_at", models.DateTimeField()),
                ("first_at", models.DateTimeField()),
                ("last_at", models.DateTimeField()),
                ("count", models.IntegerField()),
                ("number", models.IntegerField()),
                ("times", models.BinaryField()),
            ],
            options={
                "db_table": "monitoring_segment",
                "managed": False,
            },
        ),
        migrations.CreateModel(
            name="Horizon",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("sealed_until", models.DateTimeField(null=True)),
                ("compacted_until", models.DateTimeField(null=True)),
                ("sealing", models.DateTimeField(null=True)),
            ],
        ),
    ]
