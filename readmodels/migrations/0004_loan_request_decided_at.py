from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('readmodels', '0003_revisions_and_credit_checks'),
    ]

    operations = [
        migrations.AddIndex(
            model_name='loanrequest',
            index=models.Index(fields=['decided_at'], name='loan_request_decided_at'),
        ),
    ]
