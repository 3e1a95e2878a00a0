"""What the registry holds and how its services stand, for /metrics: a few queries, by trainer and never by run."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from django.db import connection
from django.db.models import Count, Q
from django.utils.timezone import now

from runs.counts import Held, held
from runs.models import Heartbeat, Job, Run, Source
from runs.models.run import Status
from streaming.models import TensorBoard
from trainmon.health.facts import in_time

#: Milliseconds that one of the queries may take.
STATEMENT = 3_000


@dataclass(frozen=True, slots=True)
class Figures:
    """All of one moment."""

    at: datetime
    held: Held
    sources: list[Source]
    boards: list[TensorBoard]
    jobs: dict[tuple[str, str], int]
    stalled_jobs: Counter[str]
    stalled_runs: Counter[str]
    heartbeat: datetime | None
    database: int
    seconds: float


def figures() -> Figures:
    """Read them."""
    return in_time(_read, STATEMENT)


def _read() -> Figures:
    began = time.monotonic()
    stalled = Q(status=Status.RUNNING, run__status=Status.RUNNING, run__stalled=True)
    jobs = Job.objects.order_by().values_list("source__trainer__slug", "status").annotate(
        jobs=Count("pk"), stuck=Count("pk", filter=stalled))
    by_status: dict[tuple[str, str], int] = {}
    stalled_jobs: Counter[str] = Counter()
    for trainer, status, count, stuck in jobs:
        by_status[trainer, status] = count
        stalled_jobs[trainer] += stuck
    runs = Run.objects.active().filter(status=Status.RUNNING, stalled=True).order_by()
    return Figures(
        at=now(),
        held=held(),
        sources=list(Source.objects.select_related("trainer").defer("verdicts", "fingerprint")),
        boards=list(TensorBoard.objects.select_related("trainer").defer("log_tail")),
        jobs=by_status,
        stalled_jobs=stalled_jobs,
        stalled_runs=Counter(dict(runs.values_list("source__trainer__slug").annotate(runs=Count("pk")))),
        heartbeat=Heartbeat.objects.filter(service="worker").values_list("at", flat=True).first(),
        database=_database(),
        seconds=time.monotonic() - began,
    )


def _database() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_database_size(current_database())")
        return int(cursor.fetchone()[0])
