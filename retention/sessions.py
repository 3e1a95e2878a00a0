"""What cleanups came to: each session, each trainer, and all together; the audit trail adds up to the same (CH-72)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db.models import Count, DurationField, ExpressionWrapper, F, Q, QuerySet, Sum, Value
from django.db.models.functions import Greatest

from retention.models import Plan, Tombstone
from runs.models import Run, Trainer

TOMBS = "runs__tombstone"


def sessions() -> QuerySet[Plan, Any]:
    """Cleanups that were confirmed, newest first, with the runs and bytes that they moved, gave back and freed.

    ``saved`` is the time that they saved, if a run takes TRAINMON_BY_HAND minutes by hand.
    """
    seen = Plan.objects.exclude(state__in=[Plan.State.DRAFT, Plan.State.CANCELLED]).order_by("-pk")
    by_hand = Value(timedelta(minutes=settings.TRAINMON_BY_HAND))
    return seen.annotate(
        moved=Count(TOMBS), moved_bytes=Sum(f"{TOMBS}__size", default=0), freed_bytes=Sum(f"{TOMBS}__freed", default=0),
        restored=Count(TOMBS, filter=Q(**{f"{TOMBS}__restored_at__isnull": False})), took=F("finished_at") - F("confirmed_at"),
    ).annotate(saved=Greatest(timedelta(0), ExpressionWrapper(F("moved") * by_hand - F("took"), DurationField())))


def totals() -> dict[str, Any]:
    """All of them together."""
    found = sessions().aggregate(sessions=Count("pk"), at_work=Sum("took"), time_saved=Sum("saved"))
    return found | Tombstone.objects.aggregate(**_sums())


def trainers() -> list[dict[str, Any]]:
    """Each trainer with the runs that are in place, in the trash and purged, their bytes, and what cleanups made of them."""
    at = {stage: Q(lifecycle_stage=stage) for stage in Run.Stage.values}
    runs = {row["source__trainer"]: row for row in Run.objects.order_by().values("source__trainer").annotate(
        active=Count("pk", filter=at["active"]), buried=Count("pk", filter=at["buried"]), purged=Count("pk", filter=at["purged"]),
        size=Sum("size", filter=at["active"], default=0))}
    moved = {row["source__trainer"]: row for row in
             Tombstone.objects.order_by().values("source__trainer").annotate(**_sums())}
    nothing = {"active": 0, "buried": 0, "purged": 0, "size": 0, "moved": 0, "moved_bytes": 0, "freed_bytes": 0, "restored": 0}
    rows = [nothing | runs.get(one.pk, {}) | moved.get(one.pk, {}) | {"trainer": one} for one in Trainer.objects.order_by("name")]
    return sorted(rows, key=lambda row: -row["size"])


def _sums() -> dict[str, Any]:
    return {"moved": Count("pk"), "moved_bytes": Sum("size", default=0), "freed_bytes": Sum("freed", default=0),
            "restored": Count("pk", filter=Q(restored_at__isnull=False))}
