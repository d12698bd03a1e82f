"""Make the group of those who propose and confirm lending policies."""

from __future__ import annotations

from typing import Any

from django.db import migrations


def make_group(apps: Any, schema_editor: Any) -> None:
    group = apps.get_model("auth", "Group")
    group.objects.using(schema_editor.connection.alias).get_or_create(name="Policy")


class Migration(migrations.Migration):
    dependencies = [("lepret", "0005_staff_sessions_and_initial_passwords")]

    # Reversing the migration keeps the group, which has members.
    operations = [migrations.RunPython(make_group, migrations.RunPython.noop)]
