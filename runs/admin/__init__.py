"""The admin: trainers and sources, runs and jobs, what people keep, users and roles, the audit trail.

Every list goes through ``visible_to``, and what a sync writes is read-only here.
"""

from django.contrib import admin

from runs.admin import accounts, people, registry, sources

__all__ = ["accounts", "people", "registry", "sources"]

admin.site.site_header = "trainmon"
admin.site.site_title = "trainmon"
admin.site.index_title = "Administration"
admin.site.site_url = "/"
