"""Bringing runs back: from the trash until they are purged, from their archive after that.

The registry says first that the run is back and its files are missing, then the folder appears:
a sync that looks in between sees a known run whose files come, never a new one.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet
from django.utils.timezone import now

from retention import archive, destinations, files, graves, journal, unpacking
from retention.models import Archive, PlannedRun, Tombstone
from retention.turn import Turn
from retention.work import Progress, Report, Step, silent
from runs import audit, loading, volumes
from runs.models import Run


@dataclass(frozen=True, slots=True)
class Back:
    """A run that is in its place again (or, as a copy, elsewhere), and where from."""

    run: Run
    origin: str


@dataclass(frozen=True, slots=True)
class Away:
    """A run that did not come, and why."""

    run: Run
    why: str


def last_tomb(run: Run) -> Tombstone | None:
    """The last burial of a run that was not undone."""
    tombs = Tombstone.objects.filter(Q(restored_at=None) | Q(planned__step=Step.RESTORING), run=run)
    return tombs.select_related("planned__plan__by", "planned__run", "source__trainer", "archive", "run").first()


def restore(runs: Sequence[Run], turn: Turn, author: str, report: Report = silent) -> list[Back | Away]:
    """Bring runs back to their places, in the name of whoever ordered that, else ``author``; one failure stops no other."""
    done: list[Back | Away] = []
    came: list[Tombstone] = []
    for run in runs:
        turn.check()
        try:
            came.append(_brought(run, author, report))
            done.append(Back(run, "archive" if came[-1].gone_at else "trash"))
        except (files.Refused, OSError) as error:
            done.append(Away(run, str(error)))
    # before the journal says that it is over: whoever goes on after a kill tells the volumes, too
    volumes.commit(dict.fromkeys(tomb.source.root for tomb in came), author)
    for tomb in came:
        if not tomb.lost_at:  # else what may lie there again is a stranger
            graves.forget(tomb.source.root, tomb.grave)
        journal.mark(tomb.planned, Step.RESTORED)
    return done


def _brought(run: Run, author: str, report: Report) -> Tombstone:
    tomb = last_tomb(run)
    if tomb is None:
        raise files.Refused("lies in no trash and was not purged: there is nothing to bring back")
    report(Progress(run.name, "restoring"))
    if tomb.restored_at is None:
        _bring(tomb, tomb.wanted_by or author, report)
    return tomb


def _bring(tomb: Tombstone, author: str, report: Report) -> None:
    if tomb.planned.step == Step.PURGING and not graves.whole(tomb.source.root, tomb.grave):
        raise files.Refused("is being purged: cleanup --purge ends that, then it can come from its archive")
    if tomb.planned.step != Step.RESTORING:
        _refuse_occupied(tomb)
        _promise(tomb)
    try:
        if tomb.gone_at:
            _from_archive(tomb, report)
        else:
            graves.exhume(tomb.source.root, tomb.grave, bytes(tomb.path))
    except (files.Refused, OSError) as error:
        if not _came(tomb):
            take_back(tomb)
            raise files.Refused(str(error)) from None
    _done(tomb, author)


def _came(tomb: Tombstone) -> bool:
    """Whether the folder is there although something failed after it had come."""
    try:
        if tomb.gone_at:
            return tomb.archive is not None and _is_back(tomb.archive, tomb.source.root, bytes(tomb.path))
        with files.open_folder(tomb.source.root, bytes(tomb.path)) as fd:
            return os.fstat(fd).st_ino == tomb.inode
    except (files.Refused, OSError):
        return False


def copy_out(run: Run, folder: Path, author: str, report: Report = silent) -> Back:
    """Unpack the archive of a run into a folder that is not there yet; the registry does not change."""
    row = run.archives.filter(state=Archive.State.VERIFIED).first()
    if row is None:
        raise files.Refused("has no archive that was checked")
    if os.path.lexists(folder):
        raise files.Refused(f"something lies at {files.shown(bytes(folder))} already; nothing is ever restored over it")
    if not folder.parent.is_dir():
        raise files.Refused(f"{files.shown(bytes(folder.parent))}, in which it was to be restored, is no folder that is there")
    _unpack(row, str(folder.parent), bytes(Path(folder.name)), report)
    volumes.commit([str(folder)], author)
    audit.record(None, "unpack archive", run, by=author, archive=row.name, to=str(folder), bytes=row.size)
    return Back(run, "archive")


def _promise(tomb: Tombstone) -> None:
    """The run is a known one again, whose files are yet to come."""
    try:
        with transaction.atomic():
            journal.stage(tomb.run_id, tomb.source_id, lifecycle_stage=Run.Stage.ACTIVE, files_missing=True)
            journal.mark(tomb.planned, Step.RESTORING)
    except IntegrityError:
        raise files.Refused("another run lies at its path now: restore it elsewhere with --to") from None


def take_back(tomb: Tombstone) -> None:
    """It did not come: it is where it was."""
    with transaction.atomic():
        journal.stage(tomb.run_id, tomb.source_id, lifecycle_stage=was(tomb), files_missing=False)
        journal.mark(tomb.planned, was(tomb))


def was(tomb: Tombstone) -> str:
    """Where a run was before somebody wanted it back: as its stage and as the step of its cleanup, which have the same names."""
    if tomb.lost_at:
        return Run.Stage.LOST.value
    return (Run.Stage.PURGED if tomb.purged_at else Run.Stage.BURIED).value


def _refuse_occupied(tomb: Tombstone) -> None:
    try:
        with files.open_parent(tomb.source.root, bytes(tomb.path)) as (parent, last):
            if files.lies(parent, last):
                raise files.Refused(f"something lies at {tomb.path_text} now; nothing is ever put over it")
    except files.Gone:
        pass  # the folders above it are made


def _from_archive(tomb: Tombstone, report: Report) -> None:
    if tomb.archive is None:
        raise files.Refused(unarchived(tomb))
    path = bytes(tomb.path)
    if not _is_back(tomb.archive, tomb.source.root, path):
        _recall(tomb.archive, tomb.run)
        _unpack(tomb.archive, tomb.source.root, path, report)


def unarchived(tomb: Tombstone) -> str:
    """Why what has no archive cannot come back."""
    if tomb.lost_at:
        return "was lost with its volume, without an archive; where that is back: cleanup --strangers"
    return "was purged without an archive: its files are gone"


def _recall(row: Archive, run: Run) -> None:
    """What the registry lost of the run, before a sync can find its files and read them anew."""
    try:
        loading.load(archive.registry(destinations.at(row.destination), row.name, row.manifest_sha256), run)
    except loading.Unreadable as error:
        raise files.Refused(f"its archive holds what the registry cannot take: {error}") from None


def _unpack(row: Archive, root: str, path: bytes, report: Report) -> None:
    to = destinations.at(row.destination)
    unpacking.restore(
        to, row.name, root, path, row.manifest_sha256, lambda count: report(Progress(row.run.name, "restoring", count)))


def _is_back(row: Archive, root: str, path: bytes) -> bool:
    """Whether its folder is there, entry by entry, because we were killed just after it appeared."""
    try:
        with files.open_folder(root, path) as fd:
            there = {(e.path, e.kind, e.size if e.kind == "file" else 0, e.mtime_ns) for e in files.listing(fd)}
    except files.Gone:
        return False
    _, manifest = archive.opened(destinations.at(row.destination), row.name, row.manifest_sha256)
    return there == {(item.where, item.kind, item.size, item.mtime_ns) for item in manifest.items}


def _done(tomb: Tombstone, author: str) -> None:
    with transaction.atomic():
        tomb.restored_at = now()
        tomb.save(update_fields=["restored_at"])
        journal.stage(tomb.run_id, tomb.source_id, lifecycle_stage=Run.Stage.ACTIVE, files_missing=False)
        origin = tomb.archive.name if tomb.gone_at and tomb.archive else "trash"
        audit.record(None, "restore run", tomb.run, by=author, origin=origin, bytes=tomb.size, path=tomb.path_text)


def wanted() -> QuerySet[Tombstone]:
    """Burials that are to be undone: somebody has ordered that, or was killed while they did it."""
    ordered = Q(restored_at=None) & ~Q(wanted_by="")
    return Tombstone.objects.filter(ordered | Q(planned__step=Step.RESTORING)).order_by("pk")


def cut_off() -> list[PlannedRun]:
    """Runs that were on their way back when somebody was killed."""
    return list(PlannedRun.objects.filter(step=Step.RESTORING).select_related("run"))
