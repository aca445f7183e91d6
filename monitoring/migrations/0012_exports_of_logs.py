import django.contrib.postgres.fields
import django.db.models.deletion
from django.db import migrations, models
from django.db.models.expressions import RawSQL


def say_whose(apps, schema_editor):
    """What was asked for before holds the data of its server."""
    apps.get_model("monitoring", "Export").objects.update(servers=RawSQL("ARRAY[server_id]", []))


class Migration(migrations.Migration):
    dependencies = [("monitoring", "0011_followed_logs")]

    operations = [
        migrations.RenameField("export", "metrics", "asked"),
        migrations.AddField(
            "export",
            "kind",
            models.CharField(choices=[("history", "History"), ("logs", "Logs")], default="history", max_length=8),
        ),
        migrations.AddField(
            "export",
            "servers",
            django.contrib.postgres.fields.ArrayField(base_field=models.BigIntegerField(), default=list, size=None),
        ),
        migrations.AddField("export", "reached", models.CharField(blank=True, max_length=50)),
        migrations.AlterField("export", "format", models.CharField(default="csv", max_length=5)),
        migrations.AlterField(
            "export",
            "server",
            models.ForeignKey(
                null=True, on_delete=django.db.models.deletion.CASCADE, related_name="+", to="monitoring.server"
            ),
        ),
        migrations.RunPython(say_whose, migrations.RunPython.noop),
    ]
