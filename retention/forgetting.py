"""Points of purged runs are dropped from the registry, where the plan wants that and their archive holds each of them.

An archive's lines are what ``runs.dump`` makes of the rows, so a row is there when its line is, bit for bit.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from django.db import transaction
from django.utils.timezone import now

from retention import archive, destinations, files, journal, vacuum
from retention.models import Archive, Tombstone
from runs import dump, series
from runs.models import Run, SeriesChunk, SeriesTail

PACKED = (SeriesChunk, SeriesTail)


@dataclass(frozen=True, slots=True)
class Forgotten:
    """So many points were dropped; their archive has them."""

    points: int


@dataclass(frozen=True, slots=True)
class Remembered:
    """The points of a purged run stay in the registry, and why."""

    why: str


def waiting() -> list[Tombstone]:
    """Purged runs whose points were to be dropped and are there: somebody was killed, or their archive was out of reach."""
    rows = Tombstone.objects.filter(
        purged_at__isnull=False, restored_at=None, planned__plan__forget_metrics=True,
        run__lifecycle_stage=Run.Stage.PURGED, run__points_dropped=None, run__point_count__gt=0)
    return list(rows.select_related("planned__plan__by", "planned__run", "archive"))


def forget(tomb: Tombstone) -> Forgotten | Remembered:
    """Drop the points of a purged run; its series keep their last, lowest and highest values."""
    if tomb.archive is None or tomb.archive.state != Archive.State.VERIFIED:
        return Remembered("it has no archive that was checked")
    try:
        held = _lines(tomb.archive)
    except (files.Refused, OSError) as error:
        return Remembered(f"its archive cannot be read: {error}")
    with transaction.atomic():
        run = Run.objects.select_for_update(of=("self",)).get(pk=tomb.run_id)
        if any(hashlib.sha256(line).digest() not in held for model in PACKED for line in dump.lines(model, run)):
            return Remembered("the registry has points that its archive does not hold")
        vacuum.note(run.point_count, series.forget_points(run.pk))
        journal.stage(run.pk, run.source_id, points_dropped=now(), point_count=0)
        journal.tell(tomb.planned, "drop points", archive=tomb.archive.name, points=run.point_count)
    return Forgotten(run.point_count)


def _lines(row: Archive) -> set[bytes]:
    """The digests of an archive's lines of the registry."""
    lines = archive.registry(destinations.at(row.destination), row.name, row.manifest_sha256)
    return {hashlib.sha256(line).digest() for line in lines}
