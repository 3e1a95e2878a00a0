"""Lines and events of jobs that are long over are dropped from the database, where TRAINMON_KEEP_EVENTS says so.

Their log files, metrics, samples and checkpoints stay, and so does what was counted of them: nothing is
counted twice where a file is read again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import models, transaction
from django.db.models import Exists, OuterRef, Q
from django.utils.timezone import now

from runs import audit
from runs.models import Bookmark, Event, Job, LogChunk, Run
from runs.models.run import Status

#: Jobs of a round, and rows that one transaction deletes.
MOST, BATCH = 1_000, 2_000
GOING = (Status.RUNNING, Status.QUEUED)


@dataclass(frozen=True, slots=True)
class Dropped:
    """What went."""

    lines: int = 0
    events: int = 0

    def __add__(self, other: Dropped) -> Dropped:
        return Dropped(self.lines + other.lines, self.events + other.events)


def before(at: datetime) -> datetime | None:
    """What was over then is old now; None where everything is kept."""
    days = settings.TRAINMON_KEEP_EVENTS
    return at - timedelta(days=days) if days > 0 else None


def old(since: datetime) -> models.QuerySet[Job]:
    """Jobs that are over, by their own word and by when anything of their run last came, and that have lines or events.

    What is pinned, bookmarked or held stays, and a time in the future is never old.
    """
    kept = Q(status__in=GOING) | Q(run__status__in=GOING) | Q(run__pinned=True) | Q(run__hold__isnull=False)
    marked = Exists(Bookmark.objects.filter(run=OuterRef("run")))
    jobs = Job.objects.exclude(kept).exclude(marked).filter(run__last_arrival__lt=since)
    for name in ("last_event", "last_line", "ended"):
        jobs = jobs.exclude(**{f"{name}__gte": since})
    mine = {"job": OuterRef("pk")}
    return jobs.filter(Exists(LogChunk.objects.filter(**mine)) | Exists(Event.objects.filter(**mine)))


def drop_old(at: datetime) -> Dropped:
    """A round: the oldest jobs first, each in transactions of its own."""
    total, since = Dropped(), before(at)
    if since is None:
        return total
    for pk in old(since).order_by("run__last_arrival", "pk").values_list("pk", flat=True)[:MOST]:
        while (went := drop(pk, since)) is not None:
            total += went
    return total


def drop(job_id: int, since: datetime) -> Dropped | None:
    """Some rows of a job with the audit entry; None where none is left, or where it goes on again."""
    with transaction.atomic():
        # whoever stores lines holds this row
        Run.objects.select_for_update().filter(jobs=job_id).order_by("pk").values_list("pk").first()
        job = old(since).select_related("run").filter(pk=job_id).first()
        if job is None:
            return None
        chunks = list(LogChunk.objects.filter(job=job).order_by("pk").values_list("pk", "count")[:BATCH])
        events = list(Event.objects.filter(job=job).order_by("pk").values_list("pk", flat=True)[: BATCH - len(chunks)])
        LogChunk.objects.filter(pk__in=[pk for pk, _ in chunks]).delete()
        Event.objects.filter(pk__in=events).delete()
        lines = sum(count for _, count in chunks)
        Job.objects.filter(pk=job.pk).update(lines_dropped=now(), line_count=0)
        audit.record(None, "drop old lines", job, run=job.run_id, lines=lines, events=len(events), before=since.isoformat())
    return Dropped(lines, len(events))
