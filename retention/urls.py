"""Routes of the storage, cleanup and policy pages, below /storage/."""

from __future__ import annotations

from django.urls import URLPattern

urlpatterns: list[URLPattern] = []
