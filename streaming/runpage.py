"""What the page of a run and the lists of home and trainers show while runs live."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any

from django.db.models import Count, Model
from django.http import QueryDict
from django.template.loader import render_to_string

from runs.dressing import dress_rows
from runs.models import LogFile, Note, Run, Sample, Series, TextSummary
from runs.views.latest import listed
from runs.views.page import headed

#: Lists of latest runs: their kinds, as templates/_latest_runs.html knows them.
LISTS = ("running", "broken", "recent")
#: Series whose figures one message holds at most; tags that a page may name.
MOST, NAMED = 500, 100
#: A page that draws no cards asks for what its tabs count alone.
TOTALS = "totals"


def run_heads(ids: Sequence[int], spec: str) -> dict[int, Any]:
    """The header of a run's page, without what its user may do."""
    runs = headed(Run.objects.filter(pk__in=ids)).order_by()
    return {run.pk: render_to_string("_run_header.html", {"run": run}) for run in runs}


def latest_rows(ids: Sequence[int], spec: str) -> dict[int, Any]:
    """A row of home's or a trainer's list of runs."""
    runs = dress_rows(list(listed(Run.objects.active().filter(pk__in=ids)).order_by()))
    return {run.pk: render_to_string("_latest_run.html", {"run": run, "kind": spec}) for run in runs}


def check_list(spec: str) -> None:
    """Whether there is such a list."""
    if spec not in LISTS:
        raise ValueError(f"the lists are {', '.join(LISTS)}")


def run_figures(ids: Sequence[int], spec: str) -> dict[int, Any]:
    """The figures of a run's cards by tag (last, minimum, maximum, points, how many not finite), and what its tabs count."""
    totals = {name: _counted(model, ids) for name, model in
              (("series", Series), ("samples", Sample), ("texts", TextSummary), ("files", LogFile), ("notes", Note))}
    found: dict[int, Any] = {
        pk: {"series": {}, "totals": {name: counted.get(pk, 0) for name, counted in totals.items()}} for pk in ids
    }
    if spec != TOTALS:
        series = Series.objects.filter(run__in=ids).order_by("pk")
        if tags := QueryDict(spec).getlist("tag"):
            series = series.filter(tag__name__in=tags)
        facts = ("run_id", "tag__name", "last", "minimum", "maximum", "count", "nonfinite")
        for run, tag, *figures in series.values_list(*facts)[: MOST * len(ids)]:
            found[run]["series"][tag] = [_plain(one) for one in figures]
    return found


def check_tags(spec: str) -> None:
    """Whether a page may ask for so many."""
    if spec != TOTALS and len(QueryDict(spec).getlist("tag")) > NAMED:
        raise ValueError(f"at most {NAMED} tags at once")


def _counted(model: type[Model], ids: Collection[int]) -> dict[int, int]:
    return dict(model._default_manager.filter(run__in=ids).order_by().values_list("run").annotate(Count("pk")))


def _plain(value: Any) -> Any:
    """JSON has no NaN and no infinities: these go as JavaScript's Number() reads them."""
    if not isinstance(value, float) or math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
