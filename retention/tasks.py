"""Celery's doors to the cleanup: the janitor's, who alone opens a source for writing."""

from __future__ import annotations

from celery import shared_task
from django.utils.timezone import now

from retention import files, returning, work
from retention.models import Plan, Tombstone
from retention.turn import turn


@shared_task(name="retention.tasks.carry_out")
def carry_out(plan_id: int) -> None:
    """Archive and bury what a confirmed plan lists; one that is done is left alone."""
    with turn() as held:
        plan = Plan.objects.get(pk=plan_id)
        if plan.state in (Plan.State.CONFIRMED, Plan.State.WORKING):
            work.carry_out(plan, held)


@shared_task(name="retention.tasks.bring_back")
def bring_back(tomb_ids: list[int], who: str) -> None:
    """Restore buried or purged runs; why one did not come is with its tombstone."""
    with turn() as held:
        for tomb in Tombstone.objects.filter(pk__in=tomb_ids).select_related("run", "planned"):
            try:
                returning.restore(tomb.run, held, who)
            except files.Refused as refused:
                tomb.planned.error = str(refused)
                tomb.planned.save(update_fields=["error", "changed"])


@shared_task(name="retention.tasks.apply_policies")
def apply_policies() -> list[str]:
    """Each hour: have done what the policies that are switched on say."""
    from retention import policies  # which order by way of this module

    return policies.order_all(now())
