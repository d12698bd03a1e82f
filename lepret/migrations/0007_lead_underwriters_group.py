"""Make the group of those to whom underwriters leave what is too much for them."""

from __future__ import annotations

from typing import Any

from django.db import migrations


def make_group(apps: Any, schema_editor: Any) -> None:
    group = apps.get_model("auth", "Group")
    group.objects.using(schema_editor.connection.alias).get_or_create(name="Lead underwriters")


class Migration(migrations.Migration):
    dependencies = [("lepret", "0006_policy_group")]

    # Reversing the migration keeps the group, which has members.
    operations = [migrations.RunPython(make_group, migrations.RunPython.noop)]
