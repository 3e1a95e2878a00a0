"""Routes of the storage, cleanup and policy pages, below /storage/."""

from __future__ import annotations

from django.urls import URLPattern, path

from retention.views import cleaning, holds
from retention.views.losing import source_lost
from retention.views.policies import policy_list, policy_page
from retention.views.storage import storage
from retention.views.trash import restore, trash

urlpatterns: list[URLPattern] = [
    path("policies/", policy_list, name="policies"),
    path("policies/<int:pk>/", policy_page, name="policy"),
    path("", storage, name="storage"),
    path("trash/", trash, name="storage-trash"),
    path("trash/restore/", restore, name="storage-restore"),
    path("cleanups/", cleaning.cleanups, name="cleanups"),
    path("cleanups/new/", cleaning.cleanup_new, name="cleanup-new"),
    path("cleanups/preview/", cleaning.cleanup_preview, name="cleanup-preview"),
    path("cleanups/confirm/", cleaning.cleanup_confirm, name="cleanup-confirm"),
    path("cleanups/<int:pk>/", cleaning.cleanup, name="cleanup"),
    path("cleanups/<int:pk>/progress/", cleaning.cleanup_progress, name="cleanup-progress"),
    path("lost/<int:pk>/", source_lost, name="source-lost"),
    path("holds/<int:pk>/", holds.run_hold, name="run-hold"),
    path("holds/<int:pk>/lift/", holds.run_hold_lift, name="run-hold-lift"),
]
