from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("monitoring", "0012_exports_of_logs"),
    ]

    operations = [
        migrations.AddField(
            model_name="pushtoken",
            name="lines",
            field=models.BigIntegerField(default=0, editable=False, verbose_name="lines"),
        ),
    ]
