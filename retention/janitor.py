"""What the janitor does: cleanups, restores and purges that were ordered or are due.

Each takes a turn of its own, so that what people wait for comes between; a cleanup, whose archives
may take hours, lets restores come before each of them.  Everything ordered is in
the database first: a janitor that was killed, or was not told, goes on with its next round.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial

from django.conf import settings
from django.db.models import Q
from django.utils.timezone import now

from retention import journal, purging, returning, vacuum, work
from retention.meter import Meter
from retention.models import Archive, Plan, PlannedRun, Tombstone
from retention.turn import Busy, Turn, turn

log = logging.getLogger(__name__)

Step = PlannedRun.Step
#: What could not be purged is tried again after this time: its archive is read each time.
AGAIN = timedelta(hours=6)
#: Runs that are restored or purged in one turn: their volumes are told once, and nobody waits for all of them.
AT_ONCE = 20


def carry_out(plan_id: int) -> str:
    """Do what is left of a confirmed plan; Busy where another cleanup is at work."""
    with turn(patience=0) as held:
        plan = Plan.objects.filter(pk=plan_id, state__in=Plan.OPEN).first()
        if plan is None:
            return "done already"
        with Meter(plan) as meter:
            work.carry_out(plan, held, meter.add, partial(_restores_first, held))
    plan.refresh_from_db(fields=["state"])
    log.info("%s is %s", plan, plan.get_state_display(), extra={"event": "cleanup.carried_out", "context": {"plan": plan_id}})
    return str(plan.state)


def bring_back(tomb_ids: Collection[int]) -> list[str]:
    """Restore runs that somebody wants back; why one did not come is with its tombstone.  Busy as above."""
    with turn(patience=0) as held:
        return _brought_back(tomb_ids, held)


def _restores_first(held: Turn) -> None:
    for some in batches(_wanted()):
        with _going_on("restore of tombstones", some):
            _brought_back(some, held)


def _brought_back(tomb_ids: Collection[int], held: Turn) -> list[str]:
    tombs = list(returning.wanted().filter(pk__in=tomb_ids).select_related("run", "planned"))
    done = returning.restore([tomb.run for tomb in tombs], held, "trainmon")
    return [_told(tomb, one) for tomb, one in zip(tombs, done, strict=True)]


def _told(tomb: Tombstone, one: returning.Back | returning.Away) -> str:
    if isinstance(one, returning.Back):
        return f"restored from the {one.origin}"
    tomb.planned.refresh_from_db(fields=["step"])
    journal.mark(tomb.planned, tomb.planned.step, f"did not come back: {one.why}"[:2000])
    Tombstone.objects.filter(pk=tomb.pk).update(wanted_by="")
    return f"not restored: {one.why}"


def purge_due(at: datetime) -> tuple[int, int]:
    """Delete what is past its grace period; how many runs that were and how many bytes are free.  Busy as above."""
    count = freed = 0
    left = ripe(at)
    half = Tombstone.objects.exclude(purged_at=None).filter(planned__step=Step.PURGING).exists()
    for some in batches(left) or [[]] * half:
        with turn(patience=0) as held, _going_on("purge of tombstones", some):
            for one in purging.purge_all([tomb for tomb in purging.due(at) if tomb.pk in some], held, at):
                if isinstance(one, purging.Purged):
                    count, freed = count + 1, freed + one.freed
                else:
                    journal.mark(one.tomb.planned, one.tomb.planned.step, f"was not purged: {one.why}"[:2000])
    return count, freed


def ripe(at: datetime) -> list[int]:
    """Tombstones that are due, but not those that could not be purged a moment ago: their archives would be read for ever."""
    begun, waits = Q(planned__step=Step.PURGING), Q(planned__error="") | Q(planned__changed__lte=at - AGAIN)
    due = Tombstone.objects.lying().filter(wanted_by="").exclude(planned__step=Step.RESTORING)
    sound = Q(archive=None) | ~Q(archive__state=Archive.State.BROKEN)
    due = due.filter(begun | Q(purge_after__lte=at) & waits & sound).order_by("purge_after", "pk")
    return list(due.values_list("pk", flat=True))


def round() -> None:
    """Go on with all that was ordered and is not done, then purge what is due; one failure does not stop the others."""
    for some in batches(_wanted()):
        with _going_on("restore of tombstones", some):
            bring_back(some)
    for tomb_id in _wanted():  # one that failed has held up those after it
        with _going_on("restore of tombstone", tomb_id):
            bring_back([tomb_id])
    for plan in work.unfinished():
        with _going_on("cleanup", plan.pk):
            carry_out(plan.pk)
    if settings.TRAINMON_CLEANUP_PURGE:
        count, freed = purge_due(now())
        if count:
            context = {"runs": count, "bytes": freed}
            log.info("Purged what was past its time in the trash.", extra={"event": "cleanup.purged", "context": context})
    vacuum.finish()


def batches(ids: Sequence[int]) -> list[Sequence[int]]:
    """These, a turn's worth at a time."""
    return [ids[first:first + AT_ONCE] for first in range(0, len(ids), AT_ONCE)]


def _wanted() -> list[int]:
    return list(returning.wanted().values_list("pk", flat=True))


@contextmanager
def _going_on(what: str, pk: object) -> Iterator[None]:
    """Whatever fails in here is told, and does not hold up what comes next."""
    try:
        yield
    except Busy:
        raise
    except Exception:
        log.exception("The %s %s failed; the next round tries again.", what, pk)
