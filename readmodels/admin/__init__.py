"""The back office in Django's admin: read-only, even for superusers. Only events change rows."""

from __future__ import annotations

from django.contrib import admin

from readmodels.admin import loans, projections

__all__ = ["loans", "projections"]

admin.site.site_header = admin.site.site_title = "lepret back office"
admin.site.index_title = "Loan requests"
# Its place is needed for the columns of lists. The first page leads to every list.
admin.site.enable_nav_sidebar = False
