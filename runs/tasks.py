"""Celery's doors to the registry."""

from datetime import timedelta

from celery import shared_task
from django.conf import settings
from django.db.models import F, Q
from django.utils.timezone import now

from runs.models import Heartbeat, Source
from runs.models.trainer import FOLLOWING
from runs.sync import sync

#: A followed source is scanned each minute by its follower; after this time something is wrong with it.
LOOKED_AFTER = timedelta(minutes=5)


@shared_task(name="runs.tasks.sync_source")
def sync_source(source_id: int) -> str:
    """Sync one source; a live lease of another sync is a normal answer."""
    return type(sync(source_id)).__name__


@shared_task(name="runs.tasks.sync_all")
def sync_all() -> int:
    """Queue a sync of each enabled source; they expire when the next ones are queued.

    What a follower reads, and scanned lately, needs none: it is left for when the follower is gone.
    """
    frozen_now = now()
    looked_after = Q(followed__gt=frozen_now - FOLLOWING, last_synced__gt=frozen_now - LOOKED_AFTER)
    # the longest waiting first: where a round is longer than its interval, its end expires
    waiting = Source.objects.filter(enabled=True).exclude(looked_after).order_by(
        F("last_synced").asc(nulls_first=True), "pk")
    sources = list(waiting.values_list("pk", flat=True))
    for source_id in sources:
        sync_source.apply_async([source_id], expires=settings.TRAINMON_SYNC_INTERVAL)
    return len(sources)


@shared_task(name="runs.tasks.heartbeat")
def heartbeat() -> None:
    """That the clock, the broker and the worker work: whoever asks for our health looks when this last ran."""
    Heartbeat.beat("worker")
