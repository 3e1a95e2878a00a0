"""What a debug bundle tells of a job beside its lines: its row, its run, where trainmon runs."""

from __future__ import annotations

import platform
import sys
from datetime import datetime
from typing import Any

import django
from django.conf import settings
from django.db import connection
from django.db.models import Model, Q, QuerySet

from runs.models import Job, Sample

#: Columns that are ids of other rows, or told elsewhere in the bundle.
JOB_UNTOLD = {"id", "source", "run", "cancel_requested_by"}
RUN_TOLD = (
    "id", "name", "status", "status_reason", "status_evidence", "status_since", "stalled", "started", "ended", "last_event",
    "last_arrival", "step", "total_steps", "epoch", "error", "error_type", "error_stack", "warnings", "gpu_type", "gpu_count",
    "host", "pid", "params", "tags", "point_count", "bad_records", "lost_bytes", "files_missing", "version",
)
FILE_TOLD = (
    "id", "kind", "size", "offset", "generation", "records", "points", "bad_records", "lost_bytes", "damages", "pending",
    "error", "missing",
)
#: Rows of each kind that are told, the newest.
MOST = 500


def metadata(job: Job) -> dict[str, Any]:
    """The job and its run as the registry has them."""
    run, source = job.run, job.source
    job_fields = [field.name for field in Job._meta.concrete_fields if field.name not in JOB_UNTOLD]
    return {
        "job_id": job.external_id,
        "job": {"id": job.pk} | _told(job, job_fields),
        "run": _told(run, RUN_TOLD) | {"path": run.path_text},
        "source": {"id": source.pk, "trainer": source.trainer.slug, "root": source.root_text, "last_synced": source.last_synced},
        "transitions": list(job.transitions.order_by("-at")[:MOST].values("old", "new", "reason", "evidence", "at", "seen")),
        "events": list(job.events.order_by("-pk")[:MOST].values("at", "level", "kind", "message")),
        "checkpoints": list(job.checkpoints.order_by("-pk")[:MOST].values("kind", "said", "step", "size", "at", "missing")),
        "samples": samples(job).count(),
        "files": [{"path": file.path_text} | _told(file, FILE_TOLD)
                  for file in run.log_files.defer("state").order_by("-pk")[:MOST]],
    }


def samples(job: Job) -> QuerySet[Sample]:
    """The job's own; those of event files name no job and belong to the only one of their run."""
    alone = not Job.objects.filter(run=job.run_id).exclude(pk=job.pk).exists()
    return Sample.objects.filter(Q(job=job) | Q(job=None) if alone else Q(job=job), run=job.run_id)


def environment(now: datetime) -> dict[str, Any]:
    """Where trainmon runs, without a variable of the environment: those may hold anything."""
    return {
        "timestamp": now,
        "trainmon_version": settings.VERSION,
        "python_version": sys.version.split()[0],
        "django_version": django.get_version(),
        "postgresql_version": _server(),
        "platform": platform.platform(),
        "mode": "production" if settings.PRODUCTION else "local",
        "log_level": settings.TRAINMON_LOG_LEVEL or "INFO",
        "use_redis": bool(settings.REDIS_URL),
        "volume_root": str(settings.HOME),
        "log_dir": str(settings.PLACES.logs),
        "sync_interval": settings.TRAINMON_SYNC_INTERVAL,
        "scan_deadline": settings.TRAINMON_SCAN_DEADLINE,
    }


def _server() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SHOW server_version")
        return str(cursor.fetchone()[0])


def _told(row: Model, names: Any) -> dict[str, Any]:
    return {name: getattr(row, name) for name in names}
