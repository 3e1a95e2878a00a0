"""The end of the grace period: the files of buried runs are deleted; run, series and notes stay."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction

from retention import archive, files, forgetting, graves, journal, openers, watching
from retention.candidates import candidates
from retention.models import Archive, Tombstone
from retention.turn import Turn
from retention.work import Progress, Report, Step, silent, unreliable
from runs import volumes
from runs.models import Run


@dataclass(frozen=True, slots=True)
class Purged:
    """A run whose files are gone, and what became of its points where they were to be dropped."""

    tomb: Tombstone
    freed: int
    points: forgetting.Forgotten | forgetting.Remembered | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """A buried run that was not purged, and why."""

    tomb: Tombstone
    why: str


def lying() -> list[Tombstone]:
    """What lies in the trash, by the journal; those first that are due first."""
    rows = Tombstone.objects.lying().exclude(planned__step=Step.RESTORING)
    rows = rows.select_related("planned__plan__by", "planned__run", "run", "source__trainer", "archive")
    return list(rows.defer("source__verdicts", "source__fingerprint").order_by("purge_after", "pk"))


def due(at: datetime) -> list[Tombstone]:
    """What is past its grace period, and what was being purged when somebody was killed."""
    return [tomb for tomb in lying() if tomb.purge_after <= at or tomb.planned.step == Step.PURGING]


def purge_all(tombs: list[Tombstone], turn: Turn, at: datetime, report: Report = silent) -> list[Purged | Kept]:
    """Purge these; one that must stay, or cannot be deleted, does not stop the others."""
    done: list[Purged | Kept] = []
    for tomb in forgetting.waiting():
        turn.check()
        forgetting.forget(tomb)
    for tomb in tombs:
        report(Progress(tomb.run.name, "purging"))
        openers.wait(tomb, at)
        turn.check()
        done.append(_purge(tomb, at, report))
    rows = Tombstone.objects.exclude(purged_at=None).filter(planned__step=Step.PURGING)
    gone = list(rows.select_related("planned", "source").defer("source__verdicts", "source__fingerprint"))
    # before the journal says that it is over: whoever goes on after a kill tells the volumes, too
    volumes.commit(dict.fromkeys(tomb.source.root for tomb in gone))
    for tomb in gone:
        with suppress(files.Refused, OSError):  # its volume is away now: the next purge does that, and others go on
            graves.forget(tomb.source.root, tomb.grave)
            journal.mark(tomb.planned, Step.PURGED)
    return done


def _purge(tomb: Tombstone, at: datetime, report: Report) -> Purged | Kept:
    try:
        begun = not graves.whole(tomb.source.root, tomb.grave) and tomb.planned.step == Step.PURGING
    except (files.Refused, OSError) as error:
        return Kept(tomb, str(error))
    if not begun and (why := _kept(tomb, at) or _unreliable(tomb) or _kept_now(tomb, at)):
        if tomb.planned.step == Step.PURGING:  # somebody was killed between the word and the deed
            journal.mark(tomb.planned, Step.BURIED)
        return Kept(tomb, why)
    try:
        freed = graves.purge(tomb.source.root, tomb.grave, lambda freed: report(Progress(tomb.run.name, "purging", freed)))
    except (files.Refused, OSError) as error:
        return _stopped(tomb, error)
    journal.purged(tomb, freed)
    return Purged(tomb, freed, forgetting.forget(tomb) if tomb.planned.plan.forget_metrics else None)


def _stopped(tomb: Tombstone, error: Exception) -> Kept:
    """Nothing was deleted, or not all: the grave says which, and whether somebody still writes there."""
    try:
        tomb.grew = watching.grown(tomb)
        tomb.save(update_fields=["grew"])
        journal.mark(tomb.planned, Step.BURIED, str(error))
    except (files.Refused, OSError):
        pass
    return Kept(tomb, str(error))


def _kept_now(tomb: Tombstone, at: datetime) -> str:
    """Ask again and write down that it is on its way, as one: reading the archive may have taken hours."""
    with transaction.atomic():
        Run.objects.select_for_update().only("pk").get(pk=tomb.run_id)
        tomb.wanted_by = Tombstone.objects.select_for_update().values_list("wanted_by", flat=True).get(pk=tomb.pk)
        if not (why := _kept(tomb, at)):
            journal.mark(tomb.planned, Step.PURGING)
    return why


def _kept(tomb: Tombstone, at: datetime) -> str:
    """Why it must stay in the trash: somebody's later word."""
    if tomb.wanted_by:
        return "is wanted back"
    (row,) = candidates(Run.objects.filter(pk=tomb.run_id))
    if row.hold is not None and (row.hold_until is None or row.hold_until > at):
        return f"is held: {row.hold}"
    if (row.pinned or row.bookmarked) and not tomb.planned.plan.forced:
        return "was pinned or bookmarked meanwhile"
    return ""


def _unreliable(tomb: Tombstone) -> str:
    """Why it must stay in the trash: an archive that is not what it was."""
    if tomb.archive is None:
        return "" if not tomb.planned.plan.archive else "has no archive that was checked"
    found = archive.look(tomb.archive.destination, tomb.archive.name, tomb.archive.manifest_sha256)
    if isinstance(found, archive.Broken):
        Archive.objects.filter(pk=tomb.archive.pk).update(state=Archive.State.BROKEN, error=found.reason[:2000])
    return unreliable(found)
