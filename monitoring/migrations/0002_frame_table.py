from django.db import migrations

# Partitioned by time, and neither Django's fields nor its migrations can say so. No foreign keys: they would cost a
# look-up per row, and a deleted server's frames leave with their partition. No DEFAULT partition: one with rows in it
# would make every new partition scan it; `monitoring.history.partitions` makes what `record` needs.
# vals is stored as it comes: float64 noise does not compress, and TOAST would only move it away.
CREATE = """
CREATE TABLE monitoring_frame (
    server_id bigint NOT NULL,
    block integer NOT NULL,
    at timestamptz NOT NULL,
    present bigint NOT NULL,
    batch_id bigint NOT NULL,
    vals bytea NOT NULL,
    PRIMARY KEY (server_id, block, at, present)
) PARTITION BY RANGE (at);
ALTER TABLE monitoring_frame ALTER COLUMN vals SET STORAGE MAIN
"""


class Migration(migrations.Migration):
    dependencies = [("monitoring", "0001_first")]
    operations = [migrations.RunSQL(CREATE, "DROP TABLE monitoring_frame")]
