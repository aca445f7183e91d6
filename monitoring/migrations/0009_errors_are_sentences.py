from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("monitoring", "0008_what_has_left"),
    ]

    operations = [
        migrations.AlterField(
            model_name="source",
            name="error",
            field=models.TextField(blank=True, editable=False, verbose_name="last error"),
        ),
    ]
