"""Where TensorBoard is known to show less of a run than the registry has, by the run's name.

Measured with TensorBoard 2.21 and its fast loader: it hides the points before a restart inside a file or in an
earlier file of the folder (overlaps.py), keeps the old
content of a file that was replaced, stops at a record whose length is damaged, and takes one with damaged content.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from django.db.models import F, Prefetch, Q, QuerySet

from runs.models import LogFile, Run, Segment
from streaming.tensorboard import overlaps

#: Runs that are named; files that are looked at for them.
NAMED, LOOKED_AT = 20, 500


@dataclass(frozen=True, slots=True)
class Shortfall:
    """A run, and what TensorBoard does not show of it, or shows as it is not."""

    run: Run
    reasons: list[str]


@dataclass(frozen=True, slots=True)
class Shortfalls:
    """The first runs that have some, how many were found, and whether these are all."""

    rows: list[Shortfall]
    total: int
    are_all: bool


def of_sources(sources: Iterable[int]) -> Shortfalls:
    """Those of all runs of these sources, newest first."""
    active = Q(run__source__in=list(sources), run__lifecycle_stage=Run.Stage.ACTIVE, run__files_missing=False)
    looked_at = list(_suspect(active).select_related("run__dataset")[: LOOKED_AT + 1])
    found: dict[int, Shortfall] = {}
    for file in looked_at[:LOOKED_AT]:
        if reasons := list(reasons_of(file)):
            found.setdefault(file.run_id, Shortfall(file.run, [])).reasons.extend(reasons)
    suspects = overlaps.suspects(active)
    again = overlaps.of_runs(suspects) if suspects else {}
    for run in Run.objects.filter(pk__in=again).select_related("dataset").only("name", "dataset__name") if again else ():
        found.setdefault(run.pk, Shortfall(run, [])).reasons.extend(again[run.pk])
    are_all = len(looked_at) <= LOOKED_AT and len(suspects) < overlaps.MOST
    return Shortfalls(list(found.values())[:NAMED], len(found), are_all)


def of_run(run: Run) -> list[str]:
    """What TensorBoard does not show of one run."""
    again = overlaps.of_runs([run.pk]) if overlaps.suspects(Q(run=run)) else {}
    return [reason for file in _suspect(Q(run=run))[:NAMED] for reason in reasons_of(file)] + again.get(run.pk, [])


def _suspect(which: Q) -> QuerySet[LogFile]:
    """Event files that were replaced, damaged or restarted, with what tells how."""
    # their ids, not a subquery: beyond some number of restarts PostgreSQL would go through them again for each file
    restarted = Segment.objects.filter(which, part__gt=0).order_by("-pk").values_list("log_file", flat=True)
    odd = Q(stale=True) | Q(bad_records__gt=0) | Q(pk__in=set(restarted[: LOOKED_AT + 1]))
    # one that began later has opened the file that is there now
    stale = Q(generation__gt=0, replaced__gte=F("source__trainer__tensorboard__started"))
    files = LogFile.objects.annotate(stale=stale).filter(which, odd, kind=LogFile.Kind.EVENTS, missing=False)
    parts = Segment.objects.order_by("part")
    return (
        files.order_by("-last_wall", "-pk").prefetch_related(Prefetch("segments", parts))
        .only("run", "path", "generation", "damages", "run__name", "run__dataset__name")
    )


def reasons_of(file: LogFile) -> Iterator[str]:
    """Why TensorBoard shows less, or something else, of this file."""
    name = file.path_text.rpartition("/")[2]
    if hidden := _hidden_steps(file):
        low, high = (f"{step:,}" for step in hidden)
        steps = f"steps {low} to {high}" if low != high else f"step {low}"
        yield f"Restarted inside {name}: {steps} from before the restart are hidden."
    if getattr(file, "stale", False):
        yield f"{name} was replaced: its old content is shown until TensorBoard is restarted."
    kinds = {damage["kind"]: damage["offset"] for damage in reversed(file.damages)}
    if "length crc" in kinds:
        yield f"{name} is damaged at byte {kinds['length crc']:,}: nothing that comes after it is shown."
    if "payload crc" in kinds:
        at = kinds["payload crc"]
        yield f"{name} holds a damaged record at byte {at:,}: it is shown as if it were right; here it is left out."


def _hidden_steps(file: LogFile) -> tuple[int, int] | None:
    """The steps that were told again after a restart inside the file."""
    hidden: list[int] = []
    last: int | None = None
    for part in file.segments.all():
        if part.generation != file.generation or part.first_step is None or part.last_step is None:
            continue
        if last is not None and part.first_step <= last:
            hidden += [part.first_step, last]
        last = max(part.last_step, part.first_step if last is None else last)
    return (min(hidden), max(hidden)) if hidden else None
