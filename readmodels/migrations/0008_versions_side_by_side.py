from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('readmodels', '0007_request_gone'),
    ]

    operations = [
        migrations.AddField(
            model_name='checkpoint',
            name='left_out',
            field=models.JSONField(null=True),
        ),
        migrations.AddField(
            model_name='rebuild',
            name='left_out',
            field=models.JSONField(null=True),
        ),
        migrations.AddField(
            model_name='failure',
            name='schema_version',
            field=models.PositiveIntegerField(null=True),
        ),
        migrations.AddField(
            model_name='failure',
            name='tried_by',
            field=models.JSONField(null=True),
        ),
    ]
