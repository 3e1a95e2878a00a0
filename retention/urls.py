"""Routes of the storage, cleanup and policy pages, below /storage/."""

from __future__ import annotations

from django.urls import URLPattern, path

from retention.views.policies import policy_list, policy_page
from retention.views.storage import storage
from retention.views.trash import restore, trash

urlpatterns: list[URLPattern] = [
    path("policies/", policy_list, name="policies"),
    path("policies/<int:pk>/", policy_page, name="policy"),
    path("", storage, name="storage"),
    path("trash/", trash, name="storage-trash"),
    path("trash/restore/", restore, name="storage-restore"),
]
