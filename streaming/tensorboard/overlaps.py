"""Where files of one folder tell the same steps of a tag: TensorBoard hides what the earlier one said of them.

Measured with TensorBoard 2.21: its fast loader reads the files of a folder in the order of their names and, where a tag goes
back to an earlier step, drops what it had from there on; tags that only one of the files tells keep all their points.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator

from django.db.models import Count, Exists, F, Max, Min, OuterRef, Q

from runs.models import LogFile, Segment, SeriesChunk, SeriesTail

#: Runs of several files that are compared, and of which the tags are.
COMPARED, MOST = 2000, 100
Span = tuple[int, int]


def suspects(which: Q) -> list[int]:
    """The newest runs with an event file that begins before an earlier one ends, whatever their tags."""
    events = LogFile.objects.filter(which, kind=LogFile.Kind.EVENTS, missing=False)
    several = events.order_by("-run").values("run").annotate(files=Count("pk")).filter(files__gt=1).values_list("run", flat=True)
    if not (runs := list(several[:COMPARED])):  # nearly all have one, and comparing takes its time
        return []
    shown = {"log_file__kind": LogFile.Kind.EVENTS, "log_file__missing": False, "generation": F("log_file__generation")}
    earlier = Segment.objects.filter(
        run=OuterRef("run"), log_file__path__lt=OuterRef("log_file__path"), last_step__gte=OuterRef("first_step"), **shown)
    found = Segment.objects.filter(Exists(earlier), run__in=runs, **shown).order_by("-run").values_list("run", flat=True)
    return list(found.distinct()[:MOST])


def of_runs(runs: Iterable[int]) -> dict[int, list[str]]:
    """What is hidden of these runs, by their ids."""
    files = {file.pk: file for file in LogFile.objects.filter(run__in=runs, kind=LogFile.Kind.EVENTS, missing=False)
             .only("run", "path", "generation").order_by("path")}  # fmt: skip
    told = _told(files)
    folders: dict[tuple[int, bytes], list[LogFile]] = defaultdict(list)
    for file in files.values():
        folders[file.run_id, os.path.dirname(bytes(file.path))].append(file)
    reasons: dict[int, list[str]] = defaultdict(list)
    for (run, _), together in folders.items():
        reasons[run] += _reasons(together, told)
    return {run: said for run, said in reasons.items() if said}


def _told(files: dict[int, LogFile]) -> dict[int, dict[int, Span]]:
    """The first and last step of each series in each of these files."""
    told: dict[int, dict[int, Span]] = defaultdict(dict)
    for model in (SeriesChunk, SeriesTail):
        rows = model._default_manager.filter(
            series__run__in={file.run_id for file in files.values()}, log_file__in=files, generation=F("log_file__generation"))
        spans = rows.order_by().values_list("log_file", "series").annotate(Min("first_step"), Max("last_step"))
        for file, series, low, high in spans:
            before = told[file].get(series, (low, high))
            told[file][series] = min(low, before[0]), max(high, before[1])
    return told


def _reasons(together: list[LogFile], told: dict[int, dict[int, Span]]) -> Iterator[str]:
    last: dict[int, int] = {}
    for file in together:
        spans = told[file.pk]
        again = [(low, last[series]) for series, (low, _) in spans.items() if low <= last.get(series, low - 1)]
        if again:
            low, high = f"{min(one for one, _ in again):,}", f"{max(one for _, one in again):,}"
            steps = f"steps {low} to {high}" if low != high else f"step {low}"
            yield f"{file.path_text.rpartition('/')[2]} goes back: {steps} of the same tags in files before it are hidden."
        last |= {series: high for series, (_, high) in spans.items()}
