"""Runs that a policy could not clean up, as no archive could be made: tried again after an hour, two, four, at most a day."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db.models import Count, Exists, Max, OuterRef

from retention.models import PlannedRun
from runs.models.run import RunQuerySet
from runs.status import duration

FIRST, LONGEST = timedelta(hours=1), timedelta(days=1)
#: The turn of the hour is not missed by the seconds that the last one took.
SLACK = timedelta(minutes=10)
Step = PlannedRun.Step


def delay(failures: int) -> timedelta:
    """How long one is left alone that failed so often in a row."""
    return min(LONGEST, FIRST * 2 ** min(failures - 1, 10))


def waiting(runs: RunQuerySet, at: datetime) -> dict[int, str]:
    """Those of these runs that are not tried again yet, and why, in words."""
    later = PlannedRun.objects.filter(run=OuterRef("run"), pk__gt=OuterRef("pk")).exclude(step__in=[Step.FAILED, Step.SKIPPED])
    failed = PlannedRun.objects.filter(~Exists(later), step=Step.FAILED, plan__policy__isnull=False, run__in=runs.order_by())
    counted = failed.order_by().values_list("run").annotate(Count("pk"), Max("changed"), Max("pk"))
    held = {run: (count, last, pk) for run, count, last, pk in counted if at < last + delay(count) - SLACK}
    errors = dict(PlannedRun.objects.filter(pk__in=[pk for *_, pk in held.values()]).values_list("run", "error")) if held else {}
    return {run: _words(count, last, errors[run], at) for run, (count, last, _) in held.items()}


def _words(count: int, last: datetime, error: str, at: datetime) -> str:
    often = f"{count:,} times, the last" if count > 1 else "once,"
    return (f"failed {often} {duration(max(0.0, (at - last).total_seconds()))} ago ({error[:300].rstrip('.')}): "
            f"is tried again from {last + delay(count):%Y-%m-%d %H:%M} UTC on")
