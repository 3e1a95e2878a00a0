"""The runs of one page, with the cells of the columns that were chosen: a fixed number of queries."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeVar

from django.db.models import Count, F, QuerySet

from runs.charts import MAIN_TAGS, Main
from runs.compiled import Compiled
from runs.models import Dataset, Note, Run, Series
from runs.query.conditions import HELD, among, looked_up
from runs.query.grammar import Metric, Param

if TYPE_CHECKING:
    from runs.models import Source
    from runs.query.columns import Column

#: Columns that no row of a list shows, and that may be long: of its source, of a run.
OF_SOURCE = ("source__verdicts", "source__fingerprint", "source__problems", "source__last_error")
LONG = ("params", "param_sources", "sidecars", "said", "pulse", "status_evidence", "error_stack")
UNSHOWN = (*LONG, *OF_SOURCE)
#: Columns that no list shows, long or not: a time takes as long to read as ten numbers.
UNLISTED = (*LONG, "created", "status_since", "last_arrival", "error", "error_type", "pid", "stage", "file_count")


class BareRun(SimpleNamespace):
    """A run for its cells alone, with the fields that they are made of: a model takes longer to make than all of its cells."""

    progress, duration = Run.progress, Run.duration


R = TypeVar("R", Run, BareRun)


def rows(
    ids: Sequence[int], columns: Sequence[Column], tags: Mapping[str, int], sources: Mapping[int, Source],
    also: Collection[str] = (),
) -> list[Run]:
    """The runs with these ids, in their order, each with ``cells`` of what is no field of its own.

    ``sources`` are all that the user may see, by id.  ``also`` names long fields that are wanted too.  Sorting ids
    alone takes half the time of sorting rows.
    """
    found = {run.pk: run for run in _listed(frozenset({*also, *_params(columns)})).models(runs=ids)}
    return _dressed([found[pk] for pk in ids if pk in found], columns, tags, sources)


def bare_rows(
    ids: Sequence[int], columns: Sequence[Column], tags: Mapping[str, int], sources: Mapping[int, Source | None]
) -> list[BareRun]:
    """As ``rows``, with what the columns read and nothing else; ``sources`` may be None where no cell tells of them."""
    read = {*_params(columns), *(name for column in columns for name in column.reads)}
    fields = ("pk", "source_id", "dataset_id", "dataset_name", "version", *sorted(read))
    found = {row[0]: BareRun(**dict(zip(fields, row, strict=True))) for row in _bare(fields).rows(runs=ids)}
    if "params" in read:
        for run in found.values():
            run.params = json.loads(run.params)
    return _dressed([found[pk] for pk in ids if pk in found], columns, tags, sources)


def _params(columns: Sequence[Column]) -> list[str]:
    return ["params"] if any(isinstance(column.source, Param) for column in columns) else []


def _dressed(
    found: Sequence[R], columns: Sequence[Column], tags: Mapping[str, int], sources: Mapping[int, Source | None]
) -> list[R]:
    runs = [run for run in found if run.source_id in sources]
    ids = [run.pk for run in runs]
    _share(runs, sources)
    measured = _measured(ids, columns, tags)
    notes = _notes(ids) if any(column.key == "notes" for column in columns) else {}
    for run in runs:
        run.cells = {"notes": notes.get(run.pk, 0), **measured.get(run.pk, {})}
        for column in columns:
            if isinstance(column.source, Param):
                run.cells[column.key] = looked_up(run.params, column.source.name)
    return runs


@cache
def _bare(fields: tuple[str, ...]) -> Compiled[Run]:
    return Compiled(_named().values_list(*fields))


@cache
def _listed(long: frozenset[str]) -> Compiled[Run]:
    return Compiled(_named().defer(*(field for field in UNLISTED if field not in long)))


def _named() -> QuerySet[Run]:
    return Run.objects.filter(among("pk", "runs")).order_by().annotate(dataset_name=F("dataset__name"))


def _share(runs: Sequence[R], sources: Mapping[int, Source | None]) -> None:
    """Rows have few sources and datasets between them: joined, each row would make its own."""
    datasets: dict[int, Dataset] = {}
    for run in runs:
        if source := sources[run.source_id]:
            run.source = source
        if run.dataset_id and run.dataset_id not in datasets:
            datasets[run.dataset_id] = Dataset(pk=run.dataset_id, name=run.dataset_name)  # type: ignore[attr-defined]
            if source:
                datasets[run.dataset_id].trainer_id = source.trainer_id
        run.dataset = datasets[run.dataset_id] if run.dataset_id else None


def _measured(ids: Sequence[int], columns: Sequence[Column], tags: Mapping[str, int]) -> dict[int, dict[str, Any]]:
    """The cells of all metrics, in one query; the main metric is the first of its tags that a run has."""
    asked = [(column.key, column.source) for column in columns if isinstance(column.source, Metric)]
    main = {tags[name]: (rank, name) for rank, name in enumerate(MAIN_TAGS) if name in tags}
    if not any(column.key == "metric" for column in columns):
        main = {}
    wanted = {tags[metric.tag] for _, metric in asked if metric.tag in tags} | main.keys()
    if not wanted or not ids:
        return {}
    held = [name for of, name in HELD.items() if any(metric.of == of for _, metric in asked) or (main and of == "last")]
    series: dict[int, dict[int, dict[str, Any]]] = {}
    plot = ["pk", "count", "last_wall"] if main else []
    fields = ("run_id", "tag_id", *held, *plot)
    for values in _series(fields).rows(runs=ids, tags=list(wanted)):
        found = dict(zip(fields, values, strict=True))
        series.setdefault(found["run_id"], {})[found["tag_id"]] = found
    cells: dict[int, dict[str, Any]] = {}
    for run, by_tag in series.items():
        cells[run] = {
            key: by_tag[tags[metric.tag]][HELD[metric.of]] for key, metric in asked if tags.get(metric.tag) in by_tag
        }
        if best := min((tag for tag in by_tag if tag in main), key=lambda tag: main[tag], default=None):
            row = by_tag[best]
            figures = Main(main[best][1], row["pk"], row["count"], row["last_wall"], row["last"])
            cells[run] |= {"metric": figures.last, "main": figures}
    return cells


@cache
def _series(fields: tuple[str, ...]) -> Compiled[Series]:
    asked = Series.objects.filter(among("run", "runs"), among("tag", "tags"))
    return Compiled(asked.order_by().values_list(*fields))


def _notes(ids: Sequence[int]) -> dict[int, int]:
    counted = Note.objects.filter(run__in=ids).order_by().values_list("run").annotate(Count("pk"))
    return dict(counted)
