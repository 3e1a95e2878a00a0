"""How a cleanup writes down what it does: each step before and after the deed, with the audit entry and the run's stage."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import F
from django.utils.timezone import now

from retention.models import Archive, PlannedRun, Tombstone
from runs import audit, signals
from runs.models import Run
from runs.readers.plain import plain

Step = PlannedRun.Step


def mark(planned: PlannedRun, step: str, error: str = "") -> None:
    """Write down how far a run is."""
    planned.step, planned.error = step, plain(error)
    planned.save(update_fields=["step", "error", "changed"])


def stage(run_id: int, source_id: int, **fields: Any) -> None:
    """Change where a run stands, for whoever looks at it now, too; within the transaction of the deed."""
    held = Run.objects.select_for_update().only("version").get(pk=run_id)
    Run.objects.filter(pk=run_id).update(version=F("version") + 1, **fields)
    signals.tell(runs={run_id: held.version + 1}, sources=[source_id])


def tell(planned: PlannedRun, action: str, **details: Any) -> None:
    """An audit entry on the run, in the name of whoever confirmed the plan."""
    plan = planned.plan
    audit.record(
        plan.by, action, planned.run, by=plan.who, why=plan.why, plan=plan.pk, origin=plan.origin, path=planned.path_text,
        bytes=planned.size, **details)


def archived(planned: PlannedRun, archive: Archive, **facts: Any) -> None:
    """An archive was written, read again and found right."""
    with transaction.atomic():
        Archive.objects.filter(pk=archive.pk).update(
            state=Archive.State.VERIFIED, verified_at=now(), error="", **facts)
        tell(planned, "archive run", archive=archive.name, destination=archive.destination, sha256=facts["sha256"])
        mark(planned, Step.ARCHIVED)


def buried(planned: PlannedRun, at: datetime, grew: list[str]) -> None:
    """A run lies in the trash."""
    with transaction.atomic():
        archive = planned.archives.filter(state=Archive.State.VERIFIED).first()
        Tombstone.objects.create(
            run=planned.run, planned=planned, source_id=planned.run.source_id, archive=archive, path=planned.path,
            grave=planned.grave, inode=planned.inode, digest=planned.digest, size=planned.size, frees=planned.frees,
            buried_at=at, purge_after=at + planned.plan.grace, grew=grew)
        # a sync may have missed its files, where we were killed on the way
        stage(planned.run_id, planned.run.source_id, lifecycle_stage=Run.Stage.BURIED, files_missing=False)
        tell(planned, "bury run", archive=archive.name if archive else None, forced=planned.plan.forced)
        mark(planned, Step.BURIED)


def purged(tomb: Tombstone, freed: int) -> None:
    """The files of a buried run are deleted; the run, its series and notes stay."""
    with transaction.atomic():
        tomb.purged_at, tomb.freed = now(), freed
        tomb.save(update_fields=["purged_at", "freed"])
        stage(tomb.run_id, tomb.source_id, lifecycle_stage=Run.Stage.PURGED)
        tell(tomb.planned, "purge run", freed=freed, archive=tomb.archive.name if tomb.archive else None)
