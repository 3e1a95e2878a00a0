"""A confirmed plan is carried out: each run is archived and checked, then buried.

Every step is in the journal before the disk is touched, and again after it (PlannedRun); whoever
goes on after a kill asks the disk on which side of the deed it was.  What protects a run is asked
again at the last moment, under the lease of its source, so that no sync sees half of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from django.conf import settings
from django.db import transaction
from django.utils.timezone import now

from retention import archive, destinations, files, graves, journal
from retention.candidates import Parents, candidates
from retention.models import Archive, Plan, PlannedRun
from retention.turn import Turn
from runs import audit, dump, volumes
from runs.lease import Busy, Lease, claim
from runs.models import Run, Source

Step = PlannedRun.Step
#: Seconds that a source is waited for, and between two looks at it and two heartbeats of its lease.
PATIENCE, PAUSE, HEARTBEAT = 120.0, 0.05, 10.0


@dataclass(frozen=True, slots=True)
class Progress:
    """What is being done: the run, the step, bytes since the last word."""

    run: str
    step: str
    bytes: int = 0


Report = Callable[[Progress], None]


def silent(_: Progress) -> None:
    """Nobody wants to know."""


def unfinished() -> list[Plan]:
    """Plans that were confirmed and are not done: whoever worked on them was killed."""
    return list(Plan.objects.filter(state__in=Plan.OPEN).order_by("pk"))


def carry_out(plan: Plan, turn: Turn, report: Report = silent, between: Callable[[], None] = lambda: None) -> None:
    """Do what is left of a plan; what could not be done is in the journal with its reason.

    ``between`` is called before each archive, which takes long, and while no source is claimed.
    """
    Plan.objects.filter(pk=plan.pk).update(state=Plan.State.WORKING)
    if plan.archive:
        _archive_all(_left(plan, Step.PLANNED, Step.ARCHIVING), turn, report, between)
    if plan.keeps:
        return _finish(plan)
    ready = [Step.BURYING, Step.ARCHIVED] if plan.archive else [Step.BURYING, Step.PLANNED, Step.ARCHIVED]
    by_source: dict[int, list[PlannedRun]] = {}
    for planned in _left(plan, *ready):
        by_source.setdefault(planned.run.source_id, []).append(planned)
    for source_id, some in by_source.items():
        _bury_all(source_id, some, turn, report)
    # before the plan is done: whoever goes on after a kill tells them, too
    volumes.commit(plan.runs.filter(step=Step.BURIED).values_list("run__source__root", flat=True).distinct(), plan.who)
    end(plan)


def end(plan: Plan) -> None:
    """It is done where nothing of it is left to do."""
    settled = (*PlannedRun.SETTLED, *([Step.ARCHIVED] if plan.keeps else []))
    if not plan.runs.exclude(step__in=settled).exists():
        _finish(plan)


def _finish(plan: Plan) -> None:
    step = Step.ARCHIVED if plan.keeps else Step.BURIED
    with transaction.atomic():
        Plan.objects.filter(pk=plan.pk).update(state=Plan.State.DONE, finished_at=now())
        gone = list(plan.runs.filter(step=step).values_list("size", flat=True))
        audit.record(
            plan.by, "finish cleanup", plan, by=plan.who, why=plan.why, origin=plan.origin, runs=len(gone), bytes=sum(gone))


def _left(plan: Plan, *steps: str) -> list[PlannedRun]:
    rows = plan.runs.filter(step__in=steps).select_related("run__source__trainer", "plan__by")
    return list(rows.defer("run__source__verdicts", "run__source__fingerprint", "run__sidecars", "run__param_sources"))


# archive


def _archive_all(some: list[PlannedRun], turn: Turn, report: Report, between: Callable[[], None]) -> None:
    parents = Parents({planned.run.source_id for planned in some})
    for planned in some:
        between()
        turn.check()
        report(Progress(planned.run.name, "archiving"))
        _archive(planned, parents, report)


def _archive(planned: PlannedRun, parents: Parents, report: Report) -> None:
    """Archive one run and check the archive; or say why not."""
    if why := _kept(planned, parents):
        return journal.mark(planned, Step.SKIPPED, why)
    try:
        if not planned.plan.keeps:
            graves.ready(planned.run.source.root, bytes(planned.path))
        to = destinations.at(settings.TRAINMON_ARCHIVE)
        to.refuse_within(Source.objects.values_list("root", flat=True))
        row, there = _place(planned, to)
        made = there or _written(planned, to, row, lambda count: report(Progress(planned.run.name, "archiving", count)))
    except (files.Refused, OSError) as error:
        step = Step.SKIPPED if isinstance(error, archive.Changed) else Step.FAILED
        with transaction.atomic():
            planned.archives.filter(state=Archive.State.WRITING).update(state=Archive.State.GONE, error=str(error)[:2000])
            journal.mark(planned, step, f"was not archived: {error}")
        return
    journal.archived(
        planned, row, sha256=made.sha256, manifest_sha256=made.manifest_sha256, size=made.size, files=made.files)


def _place(planned: PlannedRun, to: destinations.Destination) -> tuple[Archive, archive.Verified | None]:
    """A name that is free, or that of an archive that we had made when we were killed; the journal says so first."""
    number = 1
    while True:
        name = f"{planned.grave}-{number}"
        with transaction.atomic():
            row, new = Archive.objects.get_or_create(
                destination=to.url, name=name, defaults={"run": planned.run, "planned": planned})
            journal.mark(planned, Step.ARCHIVING)
        if not to.has(name):
            return row, None
        # one that lay there before we began was put there by somebody else, whatever it says
        if not new and row.state != Archive.State.GONE and (found := _left_behind(planned, to, name)):
            return row, found
        Archive.objects.filter(pk=row.pk).update(state=Archive.State.GONE, error="left there by another writer")
        number += 1


def _left_behind(planned: PlannedRun, to: destinations.Destination, name: str) -> archive.Verified | None:
    """An archive of just these files that is sound."""
    try:
        _, manifest = archive.opened(to, name)
    except files.Unreachable:
        raise
    except files.Refused:
        return None
    found = archive.verify(to, name) if manifest.about.get("digest") == planned.digest else None
    if isinstance(found, archive.Away):
        raise files.Unreachable(found.reason)
    return found if isinstance(found, archive.Verified) else None


def _written(
    planned: PlannedRun, to: destinations.Destination, row: Archive, tell: Callable[[int], None]
) -> archive.Verified:
    run = planned.run
    with files.open_folder(run.source.root, bytes(planned.path)) as fd:
        entries = files.listing(fd)
        if files.digest(entries) != planned.digest:
            raise archive.Changed("it changed since it was confirmed")
        about = {"run": run.pk, "name": run.name, "trainer": run.source.trainer.slug, "source": run.source.root_text,
                 "path": planned.path_text, "digest": planned.digest, "plan": planned.plan_id, "made": now().isoformat()}
        return archive.write(fd, entries, dump.dump(run), to, row.name, about, tell)


# bury


def _bury_all(source_id: int, some: list[PlannedRun], turn: Turn, report: Report) -> None:
    """Bury the runs of one source, which nobody syncs meanwhile."""
    with _claimed(source_id) as lease:
        if isinstance(lease, Busy):
            for planned in some:
                # one that was on its way may lie in the trash: only the disk says so, later
                step = Step.BURYING if planned.step == Step.BURYING else Step.FAILED
                journal.mark(planned, step, f"its source is being synced by {lease.holder}; try again")
            return
        parents, beaten = Parents([source_id]), time.monotonic()
        for planned in some:
            report(Progress(planned.run.name, "burying"))
            turn.check()
            if time.monotonic() - beaten > HEARTBEAT:
                lease.renew()
                beaten = time.monotonic()
            _bury(planned, lease, parents)
            report(Progress(planned.run.name, "buried", planned.size))


@contextmanager
def _claimed(source_id: int) -> Iterator[Lease | Busy]:
    until = time.monotonic() + PATIENCE
    while isinstance(lease := claim(source_id), Busy) and time.monotonic() < until:
        time.sleep(PAUSE)
    try:
        yield lease
    finally:
        if isinstance(lease, Lease):
            lease.release()


def _bury(planned: PlannedRun, lease: Lease, parents: Parents) -> None:
    """Bury one run, or say why not; killed anywhere in here, the next one finishes it."""
    gone_on = planned.step == Step.BURYING
    try:
        if gone_on and lies(planned):
            return journal.buried(planned, now(), _moved(planned))
        if gone_on and not _in_place(planned):
            # its volume may not be mounted: whoever goes on later will see
            return journal.mark(planned, Step.BURYING, "is neither where it lay nor in the trash: is its volume mounted?")
        if why := _unarchived(planned):
            return journal.mark(planned, Step.SKIPPED, why)
        journal.mark(planned, Step.BURYING)
        _held_and_moved(planned, lease, parents)
    except (files.Refused, OSError) as refused:
        # where it is cannot always be told now: whoever goes on later will see
        stays = Step.FAILED if isinstance(refused, (graves.Stuck, OSError)) else Step.SKIPPED
        journal.mark(planned, Step.BURYING if lies_or_unknown(planned) else stays, str(refused))


def _held_and_moved(planned: PlannedRun, lease: Lease, parents: Parents) -> None:
    """Ask once more what protects it and move it, as one: whoever pins, bookmarks or holds it comes before or after."""
    with transaction.atomic():
        lease.check()
        Run.objects.select_for_update().only("pk").get(pk=planned.run_id)
        if why := _kept(planned, parents):
            journal.mark(planned, Step.SKIPPED, why)
        else:
            journal.buried(planned, now(), _moved(planned))


def _moved(planned: PlannedRun) -> list[str]:
    """Rename it into the trash; what changed there meanwhile, for people."""
    try:
        grave = graves.bury(planned.run.source.root, bytes(planned.path), planned.grave, planned.digest)
    except OSError as error:
        if lies(planned):
            return []
        raise graves.Stuck(f"cannot be moved: {error.strerror or error}") from None
    return [files.shown(entry.path) for entry in grave.changed][:100]


def lies(planned: PlannedRun) -> bool:
    """Whether the disk says that a run is in its grave; Refused where it does not say."""
    try:
        graves.grown(planned.run.source.root, planned.grave, planned.digest)
    except files.Gone:
        return False
    return True


def _in_place(planned: PlannedRun) -> bool:
    """Whether something lies where the run lay: whoever moves it looks whether it is that run."""
    try:
        with files.open_folder(planned.run.source.root, bytes(planned.path)):
            return True
    except files.Gone:
        return False


def lies_or_unknown(planned: PlannedRun) -> bool:
    """Whether a run may be in its grave."""
    try:
        return lies(planned)
    except (files.Refused, OSError):
        return True


def _kept(planned: PlannedRun, parents: Parents) -> str:
    """Why a run must stay now, by the registry; empty where it may go.  Its folder is compared by whoever touches it."""
    found = candidates(Run.objects.filter(pk=planned.run_id))
    if not found or found[0].folder != bytes(planned.path):
        return "has moved since it was confirmed"
    return found[0].kept(now(), forced=planned.plan.forced or planned.plan.keeps) or parents.kept(found[0])


def _unarchived(planned: PlannedRun) -> str:
    """Why a run that is to be archived first must not be touched; empty where its archive is as it was written."""
    if not planned.plan.archive:
        return ""
    row = planned.archives.filter(state=Archive.State.VERIFIED).first()
    if row is None:
        return "has no archive that was checked"
    return unreliable(archive.look(row.destination, row.name, row.manifest_sha256, deep=False))


def unreliable(found: archive.Verified | archive.Broken | archive.Away) -> str:
    """Why an archive does not stand for its run now; empty for a verified one."""
    if isinstance(found, archive.Away):
        return f"its archive is unreachable: {found.reason}"
    return f"its archive cannot be relied on: {found.reason}" if isinstance(found, archive.Broken) else ""
