"""What a row of a list shows of its run beside its columns, for a whole page at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING

from runs.charts import Main, main_series
from runs.compiled import Compiled
from runs.models import Bookmark, LogFile, Note, Run
from runs.query.conditions import among
from runs.sparks import Spark, sparks

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser, User


def dress_rows(
    runs: Sequence[Run], user: User | AnonymousUser | None = None, main: Mapping[int, Main] | None = None
) -> Sequence[Run]:
    """Give each run what its row shows beside its columns, for a whole page of runs at once.

    Its main metric with a sparkline, how many of its files cannot be read further, its
    notes, and whether the user or the team has bookmarked it.  ``main`` are the main metrics where
    they were looked up already; none: no sparklines.
    """
    ids = [run.pk for run in runs]
    if not ids:
        return runs
    notes = Counter(run for run, in _noted().rows(runs=ids))
    bookmarks = _bookmarks(ids, user) if user else {}
    stuck = Counter(run for run, in _stuck().rows(runs=ids))
    best = main_series(ids) if main is None else main
    paths = sparks([(run, best[run.pk]) for run in runs if run.pk in best])
    for run in runs:
        run.unreadable, run.noted = stuck[run.pk], notes[run.pk]
        run.bookmarked = bookmarks.get(run.pk, False)
        run.shared_bookmark = run.pk in bookmarks
        one = best.get(run.pk)
        run.main = Spark(one.tag, one.last, paths[run.pk]) if one else None
    return runs


@cache
def _noted() -> Compiled[Note]:
    return Compiled(Note.objects.filter(among("run", "runs")).order_by().values_list("run"))


@cache
def _stuck() -> Compiled[LogFile]:
    return Compiled(LogFile.objects.filter(among("run", "runs")).exclude(error="").order_by().values_list("run"))


def _bookmarks(ids: Sequence[int], user: User | AnonymousUser) -> dict[int, bool]:
    """The runs that the user sees bookmarked, and whether a bookmark is their own."""
    marks: dict[int, bool] = {}
    for run, owner in Bookmark.objects.visible_to(user).filter(run__in=ids).order_by().values_list("run_id", "owner_id"):
        marks[run] = marks.get(run, False) or owner == user.pk
    return marks
