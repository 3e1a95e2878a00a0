"""Celery's doors to the janitor, who alone opens a source for writing; its queue is its own.

One that finds another cleanup at work asks again a few times, then leaves it to the janitor's round.
"""

from __future__ import annotations

from typing import Any

from celery import shared_task
from django.utils.timezone import now

from retention import janitor, place, rotation, watching
from retention.turn import Busy
from runs.models import Heartbeat
from runs.readers.plain import plain

WAITING: dict[str, Any] = {
    "autoretry_for": (Busy,), "retry_backoff": False, "retry_kwargs": {"countdown": 3, "max_retries": 20}, "throws": (Busy,),
}


@shared_task(name="retention.tasks.carry_out", **WAITING)
def carry_out(plan_id: int) -> str:
    """Archive and bury what a confirmed plan lists; one that is done is left alone."""
    return janitor.carry_out(plan_id)


@shared_task(name="retention.tasks.bring_back", **WAITING)
def bring_back(tomb_ids: list[int]) -> list[str]:
    """Restore buried or purged runs that somebody wants back."""
    return [said for some in janitor.batches(tomb_ids) for said in janitor.bring_back(some)]


@shared_task(name="retention.tasks.purge_due", **WAITING)
def purge_due() -> int:
    """Delete what is past its time in the trash; how many runs."""
    return janitor.purge_due(now())[0]


@shared_task(name="retention.tasks.tidy", throws=(Busy,))
def tidy() -> None:
    """Each minute: what was cut off, or could not be sent, is gone on with; what is due is purged; the trash is watched."""
    try:
        janitor.round()
    finally:
        watching.watch(now())


@shared_task(name="retention.tasks.heartbeat")
def heartbeat() -> None:
    """That the clock, the broker and the janitor work, and whether it can make archives."""
    Heartbeat.beat("janitor", plain(place.here())[:2000])


@shared_task(name="retention.tasks.apply_policies")
def apply_policies() -> list[str]:
    """Each hour: have done what the policies that are switched on say."""
    from retention import policies  # which order by way of this module

    return policies.order_all(now())


@shared_task(name="retention.tasks.drop_old_lines")
def drop_old_lines() -> None:
    """Drop lines and events of jobs that are long over, where that is wanted; no file is touched."""
    rotation.drop_old(now())
