"""What all tabs of a run's page share: the run, its header, and what its user may do to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db.models import Count, IntegerField, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.shortcuts import get_object_or_404, render

from runs.forms import PageNumber
from runs.models import Bookmark, Job, LogFile, Note, Run
from runs.query.rows import OF_SOURCE

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

    from runs.models.run import RunQuerySet

#: (name, label, route) of each tab; the template of a tab is run_<name>.html, of the first run.html.
TABS = [
    ("charts", "Charts", "run"),
    ("logs", "Logs", "run-logs"),
    ("samples", "Samples", "run-samples"),
    ("parameters", "Parameters", "run-parameters"),
    ("files", "Files", "run-files"),
    ("tensorboard", "TensorBoard", "run-tensorboard"),
    ("notes", "Notes", "run-notes"),
    ("history", "History", "run-history"),
]
#: Rows that a section of a tab shows; each says how many more there are.
ROWS = 100
#: What no tab but its own shows of a run, and what may be long.
LONG = ("param_sources", "sidecars", "said")
UNREAD = Q(bad_records__gt=0) | Q(lost_bytes__gt=0) | ~Q(error="")


@dataclass(frozen=True, slots=True)
class Section:
    """The first rows of something and the number of all."""

    rows: list[Any]
    total: int

    @property
    def more(self) -> int:
        """How many are not shown."""
        return self.total - len(self.rows)


def find(request: HttpRequest, pk: int, *more: str) -> Run:
    """A run that the user may see, with what its header shows and the columns ``more``; else 404."""
    return get_object_or_404(headed(Run.objects.visible_to(request.user), *more), pk=pk)


def headed(runs: RunQuerySet, *more: str) -> RunQuerySet:
    """Runs with what their headers show and the columns ``more``."""
    hidden = {*OF_SOURCE, *LONG} - {"source__last_error", *more}
    files, jobs = LogFile.objects.all(), Job.objects.filter(run=OuterRef("pk")).order_by("-last_event", "-id")
    counted = {"note_total": _count(Note.objects.all()), "file_total": _count(files),
               "damaged_files": _count(files.filter(UNREAD)), "job_total": _count(Job.objects.all()),
               "latest_job": Subquery(jobs.values("pk")[:1])}
    return runs.select_related("source__trainer", "dataset").defer(*sorted(hidden)).annotate(**counted)


def show(
    request: HttpRequest, run: Run, tab: str, context: dict[str, Any], *, template: str = "", status: int = 200
) -> HttpResponse:
    """A tab of the run's page below its header."""
    bookmarks = list(Bookmark.objects.visible_to(request.user).filter(run=run).select_related("owner"))
    frame = {
        "run": run,
        "tab": tab,
        "tabs": TABS,
        "bookmark": next((one for one in bookmarks if one.owner_id == request.user.pk), None),
        "shared": [one for one in bookmarks if one.owner_id != request.user.pk],
    }
    template = template or ("run.html" if tab == "charts" else f"run_{tab}.html")
    return render(request, template, frame | context, status=status)


def page_number(request: HttpRequest) -> int:
    """The page of a list within a tab; the first where the query string has no sense."""
    form = PageNumber(request.GET)
    return (form.cleaned_data["page"] if form.is_valid() else None) or 1


def section(rows: QuerySet[Any]) -> Section:
    """The first rows, counting all only where there are more."""
    shown = list(rows[: ROWS + 1])
    total = rows.count() if len(shown) > ROWS else len(shown)
    return Section(shown[:ROWS], total)


def _count(rows: QuerySet[Any]) -> Coalesce:
    """How many of these belong to the run, in the same query."""
    counted = rows.filter(run=OuterRef("pk")).order_by().values("run").annotate(total=Count("pk")).values("total")
    return Coalesce(Subquery(counted, output_field=IntegerField()), 0)
