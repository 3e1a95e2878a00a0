"""The admin: trainers and sources, runs and jobs, users and roles.

Every list goes through ``visible_to``, and what a sync writes is read-only here.
"""

from django.contrib import admin

from runs.admin import accounts, registry, sources

__all__ = ["accounts", "registry", "sources"]

admin.site.site_header = "trainmon"
admin.site.site_title = "trainmon"
admin.site.index_title = "Administration"
admin.site.site_url = "/"
