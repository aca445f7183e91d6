from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("monitoring", "0010_logs"),
    ]

    operations = [
        migrations.CreateModel(
            name="FollowedLog",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("machine", models.CharField(max_length=200, verbose_name="machine")),
                (
                    "what",
                    models.CharField(
                        choices=[
                            ("journal", "The journal"),
                            ("files", "Log files of the machine"),
                            ("own", "OpenManager's own processes"),
                        ],
                        max_length=10,
                        verbose_name="what",
                    ),
                ),
                ("place", models.JSONField(default=dict, editable=False)),
                ("lines", models.BigIntegerField(default=0, verbose_name="lines")),
                ("read_at", models.DateTimeField(null=True, verbose_name="last line")),
                ("problem", models.TextField(blank=True, verbose_name="problem")),
            ],
            options={
                "verbose_name": "followed log",
                "verbose_name_plural": "followed logs",
                "ordering": ["machine", "what"],
                "constraints": [models.UniqueConstraint(fields=("machine", "what"), name="followed_log_once")],
            },
        ),
    ]
