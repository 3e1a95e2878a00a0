"""A volume that is lost for good: what waits for it comes to its end, because an admin says so.

No disk is written to.  A grave that a volume still knows, and a run that lies in its place, are no loss, whatever
anybody says: they are left alone.  Should the volume come back, its graves are strangers (retention/strangers.py).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from django.db import transaction
from django.db.models import Q
from django.utils.timezone import now

from retention import files, graves, journal, plan, returning, work
from retention.inventory import LIST
from retention.models import Archive, Plan, PlannedRun, Tombstone
from retention.trash import open_trash
from retention.turn import Turn
from runs import audit, disk
from runs.models import Run, Source
from runs.readers.tree import TRASH

Step = PlannedRun.Step
#: What a plan still has to do with a run; one that only archives is done with it then.
OPEN = Q(step__in=(Step.PLANNED, Step.ARCHIVING, Step.BURYING)) | Q(step=Step.ARCHIVED, plan__keeps=False)
#: What an empty volume may hold.
NOTHING = {os.fsdecode(TRASH), "lost+found"}


@dataclass(frozen=True, slots=True)
class Loss:
    """What would be given up with a source, and what is no loss."""

    source: Source
    #: Why none of its runs can be there; empty where its root holds something.
    away: str
    graves: tuple[Tombstone, ...]
    steps: tuple[PlannedRun, ...]
    #: Restores and purges that were cut off: each ends as what was done of it.
    halves: tuple[Tombstone, ...]
    #: Runs whose files are then marked as missing.
    runs: tuple[int, ...]
    #: What the volume knows, and where.
    staying: tuple[tuple[Run, str], ...]

    @property
    def empty(self) -> bool:
        """Whether nothing waits for it."""
        return not (self.graves or self.steps or self.halves or self.runs)

    @property
    def archived(self) -> int:
        """How many of the graves can come back from an archive."""
        return sum(tomb.archive is not None and tomb.archive.state == Archive.State.VERIFIED for tomb in self.graves)

    @property
    def size(self) -> int:
        """Bytes of what lay in the graves."""
        return sum(tomb.size for tomb in self.graves)

    @property
    def token(self) -> str:
        """Good for exactly this."""
        said = (self.source.pk, self.source.root, [one.pk for one in self.graves], [(one.pk, one.step) for one in self.steps],
                [one.pk for one in self.halves], self.runs)
        return hashlib.sha256(repr(said).encode()).hexdigest()


def look(source: Source) -> Loss:
    """What waits for this source, and whether its volume knows it; Refused where that cannot be told."""
    away = _asked(partial(_away, source.root))
    tombs = Tombstone.objects.filter(source=source).order_by("pk").select_related(
        "run", "planned__plan", "planned__run", "archive")
    lying = [*tombs.lying()]
    steps = [*PlannedRun.objects.filter(OPEN, run__source=source, plan__state__in=Plan.OPEN).select_related("run", "plan")
             .order_by("pk")]
    rows: list[Tombstone | PlannedRun] = [*lying, *steps]
    where = _found(source, [(one.grave, _place(one)) for one in rows]) if rows else []
    lost = {id(one) for one, there in zip(rows, where, strict=True) if not there}
    halves = tombs.exclude(pk__in=[one.pk for one in lying]).filter(planned__step__in=(Step.PURGING, Step.RESTORING))
    runs = source.runs.active().filter(files_missing=False).order_by("pk").values_list("pk", flat=True)
    return Loss(
        source, away, tuple(one for one in lying if id(one) in lost), tuple(one for one in steps if id(one) in lost),
        tuple(halves if away else ()), tuple(runs if away else ()),
        tuple((one.run, there) for one, there in zip(rows, where, strict=True) if there))


def declare(source: Source, token: str, turn: Turn, author: plan.Author) -> Loss:
    """Say that it is lost; plan.Changed where that is not what was looked at.  All of it is done, or nothing."""
    turn.check()
    loss, at = look(source), now()
    if loss.token != token:
        raise plan.Changed("what waits for this volume, or what it knows, is no longer what was looked at")
    with transaction.atomic():
        for tomb in loss.halves:
            _end(tomb)
        for tomb in loss.graves:
            _lose(tomb, at, author)
        for planned in loss.steps:
            journal.mark(planned, Step.FAILED, f"its volume was declared lost by {author.who}")
        for one in {planned.plan for planned in loss.steps}:
            work.end(one)
        if loss.runs:
            source.lose_files()
        _tell(author, "declare volume lost", source, graves=len(loss.graves), archived=loss.archived, bytes=loss.size,
              steps=len(loss.steps), missing=len(loss.runs), token=token)
    return loss


def _lose(tomb: Tombstone, at: datetime, author: plan.Author) -> None:
    """One grave: neither purged nor free; its archive stays what it is."""
    Tombstone.objects.filter(pk=tomb.pk).update(lost_at=at, wanted_by="")
    journal.stage(tomb.run_id, tomb.source_id, lifecycle_stage=Run.Stage.LOST, files_missing=False)
    _tell(author, "lose run", tomb.run, plan=tomb.planned.plan_id, path=tomb.path_text, bytes=tomb.size,
          archive=tomb.archive.name if tomb.archive else None)
    journal.mark(tomb.planned, Step.LOST)


def _end(tomb: Tombstone) -> None:
    """A purge or a restore that was cut off: as far as it came."""
    if tomb.restored_at:
        return journal.mark(tomb.planned, Step.RESTORED)
    if tomb.planned.step == Step.PURGING:
        return journal.mark(tomb.planned, Step.PURGED)
    Tombstone.objects.filter(pk=tomb.pk).update(wanted_by="")
    returning.take_back(tomb)


def _tell(author: plan.Author, action: str, subject: Run | Source, **details: object) -> None:
    audit.record(
        author.user, action, subject, by=author.who, why=author.why, address=author.address, origin=author.origin, **details)


def _asked(away: partial[str]) -> str:
    try:
        return disk.ask(away)
    except disk.Silent:
        return "does not answer"


def _away(root: str) -> str:
    """Why no run of a root can be there; empty where it holds something."""
    try:
        with os.scandir(root) as there:
            return "" if any(entry.name not in NOTHING for entry in there) else "is empty"
    except PermissionError as error:
        raise files.Refused(f"{root} cannot be looked at: {error.strerror}") from None
    except OSError as error:
        return f"cannot be opened: {error.strerror}"


def _place(one: Tombstone | PlannedRun) -> bytes:
    """Where it may lie out of the trash; nowhere for what is buried, whatever lies there now."""
    buried = isinstance(one, Tombstone) and one.planned.step != Step.RESTORING
    return b"" if buried else bytes(one.path)


def _found(source: Source, asked: Sequence[tuple[str, bytes]]) -> list[str]:
    """Where each of these lies, by the disk: a grave, and a path below the root."""
    def all_of_them() -> list[str]:
        known = set(_buried(source))
        return [_where(source.root, known, *one) for one in asked]

    try:
        return disk.ask(all_of_them)
    except disk.Silent:
        if not _asked(partial(_away, source.root)):
            raise files.Refused("its volume answers, but not in time: try again") from None
        return [""] * len(asked)


def _where(root: str, known: set[bytes], grave: str, path: bytes) -> str:
    name = grave.encode()
    if known & {name, name + LIST, name + graves.PURGING}:
        return "lies in the trash"
    if path:
        with suppress(files.Refused), files.open_folder(root, path):
            return "lies in its place"
    return ""


def _buried(source: Source) -> Iterator[bytes]:
    """All that lies in the trashes beside its root and in it, though the root itself is gone."""
    for root in {source.root, source.real_root or source.root, os.path.realpath(source.root)}:
        for above in (os.path.dirname(root), root):
            place = os.path.join(os.fsencode(above), TRASH)
            if os.path.lexists(place):
                with files.closing(open_trash(place)) as fd:
                    yield from map(os.fsencode, os.listdir(fd))
