"""What pages show of a run or job while it lives, rendered once for all who may see it.

A kind renders the same template (or tag) as the page includes.  A fragment's root element has an id and
``data-version``; it holds nothing of one user: bookmarks and what a role may press are put on by the
page.  Each kind is registered here; ``render`` leaves out what is no longer there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from django.http import QueryDict

from runs import jobstate
from runs.charts import MAIN_TAGS
from runs.compiled import Compiled
from runs.dressing import dress_rows
from runs.models import Job, Run, Source
from runs.query.columns import DEFAULT, PLAIN, Column, column_of
from runs.query.conditions import among, tag_ids
from runs.query.grammar import Metric, Unclear
from runs.query.rows import OF_SOURCE, rows
from runs.templatetags.listed import lines
from streaming import jobpage, runpage

#: Columns that a row may have.
MOST_COLUMNS = 21

#: HTML is text; a kind of figures answers with an object, which goes to the page as JSON.
Rendered = dict[int, Any]


def any_spec(spec: str) -> None:
    """A kind that is drawn in one way only takes no spec."""
    if spec:
        raise ValueError("this kind of fragment takes no spec")


@dataclass(frozen=True, slots=True)
class Kind:
    """A sort of fragment.  ``check`` raises ValueError for a spec that cannot be drawn, before anything is."""

    subject: Literal["run", "job"]
    render: Callable[[Sequence[int], str], Rendered]
    check: Callable[[str], None] = any_spec


def columns_of(spec: str) -> list[Column]:
    """The columns of a list by its query string: ``column=status&column=name``; the usual ones where it has none."""
    keys = list(dict.fromkeys(QueryDict(spec).getlist("column")))
    if len(keys) > MOST_COLUMNS:
        raise ValueError(f"a row has at most {MOST_COLUMNS} columns")
    chosen = [column_of(key) for key in keys] or [PLAIN[key] for key in DEFAULT]
    return chosen if PLAIN["name"] in chosen else [PLAIN["name"], *chosen]


def check_columns(spec: str) -> None:
    """Whether these are columns."""
    try:
        columns_of(spec)
    except Unclear as error:
        raise ValueError(str(error)) from error


def run_rows(ids: Sequence[int], spec: str) -> Rendered:
    """Rows of the run list.  ``pick=choose`` in the spec: with the box that chooses it for that form."""
    columns = columns_of(spec)
    names = {column.source.tag for column in columns if isinstance(column.source, Metric)}
    if any(column.key == "metric" for column in columns):
        names |= set(MAIN_TAGS)
    alive = dict(_alive().rows(runs=list(ids)))
    of = Source.objects.filter(pk__in=set(alive.values())).select_related("trainer")
    sources = {source.pk: source for source in of.defer(*(name.removeprefix("source__") for name in OF_SOURCE))}
    found = rows(list(alive), columns, tag_ids(names), sources)
    dress_rows(found, None, {run.pk: run.cells["main"] for run in found if "main" in run.cells})
    pick = "choose" if QueryDict(spec).get("pick") == "choose" else ""
    return {run.pk: lines([run], columns, pick) for run in found}


@cache
def _alive() -> Compiled[Run]:
    return Compiled(Run.objects.active().filter(among("pk", "runs")).order_by().values_list("pk", "source_id"))


def job_progress(ids: Sequence[int], spec: str) -> Rendered:
    """The TrainingProgressEvent of each job: what its stream for scripts tells as ``progress``."""
    return {job.pk: jobstate.event(job) for job in Job.objects.filter(pk__in=ids).order_by()}


KINDS: dict[str, Kind] = {
    "run-row": Kind("run", run_rows, check_columns),
    "run-head": Kind("run", runpage.run_heads),
    "run-latest": Kind("run", runpage.latest_rows, runpage.check_list),
    "run-figures": Kind("run", runpage.run_figures, runpage.check_tags),
    "job-progress": Kind("job", job_progress),
    "job-row": Kind("job", jobpage.job_rows),
    "job-head": Kind("job", jobpage.job_heads),
    "job-live": Kind("job", jobpage.job_figures),
}
