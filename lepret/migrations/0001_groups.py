"""Make the groups that give staff their roles."""

from __future__ import annotations

from typing import Any

from django.db import migrations

GROUPS = ("Underwriters", "Back office")


def make_groups(apps: Any, schema_editor: Any) -> None:
    group = apps.get_model("auth", "Group")
    for name in GROUPS:
        group.objects.using(schema_editor.connection.alias).get_or_create(name=name)


class Migration(migrations.Migration):
    dependencies = [("auth", "0012_alter_user_first_name_max_length")]

    # Reversing the migration keeps the groups, which have members.
    operations = [migrations.RunPython(make_groups, migrations.RunPython.noop)]
