"""Celery's doors to the registry."""

from celery import shared_task
from django.conf import settings
from django.db.models import F

from runs.models import Source
from runs.sync import sync


@shared_task(name="runs.tasks.sync_source")
def sync_source(source_id: int) -> str:
    """Sync one source; a live lease of another sync is a normal answer."""
    return type(sync(source_id)).__name__


@shared_task(name="runs.tasks.sync_all")
def sync_all() -> int:
    """Queue a sync of each enabled source; they expire when the next ones are queued."""
    # the longest waiting first: where a round is longer than its interval, its end expires
    waiting = Source.objects.filter(enabled=True).order_by(F("last_synced").asc(nulls_first=True), "pk")
    sources = list(waiting.values_list("pk", flat=True))
    for source_id in sources:
        sync_source.apply_async([source_id], expires=settings.TRAINMON_SYNC_INTERVAL)
    return len(sources)
