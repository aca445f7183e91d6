import django.contrib.postgres.fields
import django.core.validators
from django.db import migrations, models

# Blocks of tier 0 come and go within seconds: they have a table of their own, which is vacuumed often, and which needs
# no partition to be made before a push is kept. All others are partitioned by the day, and leave with it. What is
# packed does not compress: EXTERNAL keeps PostgreSQL from trying, and lets a few bytes of a sieve be read alone.
CREATE = """
CREATE SEQUENCE monitoring_logblock_id;
CREATE TABLE monitoring_logblock (
    id bigint NOT NULL DEFAULT nextval('monitoring_logblock_id'),
    first_ns bigint NOT NULL,
    last_ns bigint NOT NULL,
    sieve_id bigint,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    day date NOT NULL,
    count integer NOT NULL,
    tier smallint NOT NULL,
    levels smallint NOT NULL,
    origin text NOT NULL DEFAULT '',
    servers bigint[] NOT NULL,
    head bytea NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (id, tier, day)
) PARTITION BY LIST (tier);
ALTER TABLE monitoring_logblock ALTER COLUMN head SET STORAGE EXTERNAL, ALTER COLUMN body SET STORAGE EXTERNAL;
CREATE INDEX monitoring_logblock_last ON monitoring_logblock (last_ns, id);
CREATE INDEX monitoring_logblock_first ON monitoring_logblock (first_ns, id);
CREATE INDEX monitoring_logblock_loose ON monitoring_logblock (last_ns, id) WHERE sieve_id IS NULL;
CREATE TABLE monitoring_logblock_pushed PARTITION OF monitoring_logblock FOR VALUES IN (0)
WITH (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500,
    toast.autovacuum_vacuum_scale_factor = 0, toast.autovacuum_vacuum_threshold = 2000
);
CREATE TABLE monitoring_logblock_merged PARTITION OF monitoring_logblock FOR VALUES IN (1, 2) PARTITION BY RANGE (day);
CREATE TABLE monitoring_logsieve (
    id bigint NOT NULL DEFAULT nextval('monitoring_logblock_id'),
    first_ns bigint NOT NULL,
    last_ns bigint NOT NULL,
    day date NOT NULL,
    buckets integer NOT NULL,
    block_ids bigint[] NOT NULL,
    bits bytea NOT NULL,
    PRIMARY KEY (day, id)
) PARTITION BY RANGE (day);
ALTER TABLE monitoring_logsieve ALTER COLUMN bits SET STORAGE EXTERNAL;
CREATE INDEX monitoring_logsieve_last ON monitoring_logsieve (last_ns, id);
CREATE TABLE monitoring_logcount (
    id bigint NOT NULL DEFAULT nextval('monitoring_logblock_id'),
    day date NOT NULL,
    hour integer NOT NULL,
    whole boolean NOT NULL,
    minutes bytea NOT NULL,
    quarters bytea,
    hours bytea,
    PRIMARY KEY (day, id)
) PARTITION BY RANGE (day);
ALTER TABLE monitoring_logcount
    ALTER COLUMN minutes SET STORAGE EXTERNAL,
    ALTER COLUMN quarters SET STORAGE EXTERNAL,
    ALTER COLUMN hours SET STORAGE EXTERNAL;
CREATE INDEX monitoring_logcount_hour ON monitoring_logcount (hour);
CREATE TABLE monitoring_logpush (
    recorded_at timestamptz NOT NULL DEFAULT now(),
    digest bytea NOT NULL PRIMARY KEY
);
CREATE INDEX monitoring_logpush_recorded ON monitoring_logpush (recorded_at);
CREATE TABLE monitoring_logmerge (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    merged_xid xid8 NOT NULL
)
"""
DROP = """
DROP TABLE monitoring_logblock, monitoring_logsieve, monitoring_logcount, monitoring_logpush, monitoring_logmerge;
DROP SEQUENCE monitoring_logblock_id
"""


class Migration(migrations.Migration):
    dependencies = [
        ("monitoring", "0009_errors_are_sentences"),
    ]

    operations = [
        migrations.RunSQL(CREATE, DROP),
        migrations.CreateModel(
            name="LogBlock",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "id", "tier", "day", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("day", models.DateField()),
                ("id", models.BigIntegerField()),
                ("first_ns", models.BigIntegerField()),
                ("last_ns", models.BigIntegerField()),
                ("sieve_id", models.BigIntegerField(null=True)),
                ("recorded_at", models.DateTimeField()),
                ("count", models.IntegerField()),
                ("tier", models.SmallIntegerField()),
                ("levels", models.SmallIntegerField()),
                ("origin", models.TextField()),
                ("servers", django.contrib.postgres.fields.ArrayField(base_field=models.BigIntegerField(), size=None)),
                ("head", models.BinaryField()),
                ("body", models.BinaryField()),
            ],
            options={
                "db_table": "monitoring_logblock",
                "managed": False,
            },
        ),
        migrations.CreateModel(
            name="LogCount",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "day", "id", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("day", models.DateField()),
                ("id", models.BigIntegerField()),
                ("hour", models.IntegerField()),
                ("whole", models.BooleanField()),
                ("minutes", models.BinaryField()),
                ("quarters", models.BinaryField(null=True)),
                ("hours", models.BinaryField(null=True)),
            ],
            options={
                "db_table": "monitoring_logcount",
                "managed": False,
            },
        ),
        migrations.CreateModel(
            name="LogPush",
            fields=[
                ("digest", models.BinaryField(primary_key=True, serialize=False)),
                ("recorded_at", models.DateTimeField()),
            ],
            options={
                "db_table": "monitoring_logpush",
                "managed": False,
            },
        ),
        migrations.CreateModel(
            name="LogSieve",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "day", "id", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("day", models.DateField()),
                ("id", models.BigIntegerField()),
                ("first_ns", models.BigIntegerField()),
                ("last_ns", models.BigIntegerField()),
                ("buckets", models.IntegerField()),
                (
                    "block_ids",
                    django.contrib.postgres.fields.ArrayField(base_field=models.BigIntegerField(), size=None),
                ),
                ("bits", models.BinaryField()),
            ],
            options={
                "db_table": "monitoring_logsieve",
                "managed": False,
            },
        ),
        migrations.AddField(
            model_name="historicalretention",
            name="logs_days",
            field=models.PositiveIntegerField(
                default=30,
                validators=[
                    django.core.validators.MinValueValidator(1),
                    django.core.validators.MaxValueValidator(36500),
                ],
                verbose_name="logs (days)",
            ),
        ),
        migrations.AddField(
            model_name="retention",
            name="logs_days",
            field=models.PositiveIntegerField(
                default=30,
                validators=[
                    django.core.validators.MinValueValidator(1),
                    django.core.validators.MaxValueValidator(36500),
                ],
                verbose_name="logs (days)",
            ),
        ),
    ]
