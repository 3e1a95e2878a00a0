"""The page of one run: everything that is known of it, on one page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.core.paginator import Page, Paginator
from django.db.models import Case, Count, F, Func, IntegerField, Q, QuerySet, TextField, Value, When
from django.shortcuts import get_object_or_404, render

from runs.figures import Figure, figures
from runs.forms import FigurePage
from runs.models import Event, LogFile, Run, Series
from runs.readers.joblog import ERRORS
from runs.views.listing import OF_SOURCE

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

FIGURES_PER_PAGE = 48
#: Groups of tags that stand before the others, after the tags without a group.
FIRST_GROUPS = ("train", "eval", "val")
#: Rows that a section of the page shows; each says how many more there are.
ROWS = 100


@dataclass(frozen=True, slots=True)
class Section:
    """The first rows of something and the number of all."""

    rows: list[Any]
    total: int

    @property
    def more(self) -> int:
        """How many are not shown."""
        return self.total - len(self.rows)


def run_page(request: HttpRequest, pk: int) -> HttpResponse:
    """A run that the user may see, else 404."""
    runs = Run.objects.visible_to(request.user).select_related("source__trainer", "dataset").defer(*OF_SOURCE)
    run = get_object_or_404(runs, pk=pk)
    context = {"run": run, **_charts(request, run), **_sections(run)}
    return render(request, "run.html", context)


def _charts(request: HttpRequest, run: Run) -> dict[str, Any]:
    """The figures asked for, by group, and the groups to choose from."""
    form = FigurePage(request.GET)
    asked = form.cleaned_data if form.is_valid() else {}
    series = _grouped(run)
    groups = list(series.order_by().values("place", "group").annotate(tags=Count("pk")).order_by("place", "group"))
    chosen = request.GET.get("group") if "group" in request.GET else None
    if chosen is not None:
        series = series.filter(group=asked.get("group", ""))
    pages = Paginator(series, FIGURES_PER_PAGE)
    pages.count = sum(g["tags"] for g in groups if chosen is None or g["group"] == chosen)  # type: ignore[misc]
    page: Page[Series] = pages.get_page(asked.get("page") or 1)
    return {
        "groups": groups,
        "chosen": chosen,
        "tag_count": sum(g["tags"] for g in groups),
        "page": page,
        "figure_groups": _by_group(figures(list(page.object_list))),
        "numbers": pages.get_elided_page_range(page.number, on_each_side=2, on_ends=1),
    }


def _grouped(run: Run) -> QuerySet[Any]:
    """A run's series with the part of the tag before its first slash."""
    first = [When(tag__name__startswith=f"{name}/", then=Value(rank)) for rank, name in enumerate(FIRST_GROUPS, 1)]
    prefix = Func(F("tag__name"), Value("/"), Value(1), function="split_part", output_field=TextField())
    return (
        Series.objects.filter(run=run)
        .annotate(
            group=Case(When(tag__name__contains="/", then=prefix), default=Value(""), output_field=TextField()),
            place=Case(
                When(~Q(tag__name__contains="/"), then=Value(0)), *first,
                default=Value(len(first) + 1), output_field=IntegerField(),
            ),
        )
        .select_related("tag")
        .order_by("place", "group", "tag__name")
    )


def _by_group(made: list[Figure]) -> list[tuple[str, list[Figure]]]:
    groups: dict[str, list[Figure]] = {}
    for figure in made:
        groups.setdefault(figure.series.group, []).append(figure)  # type: ignore[attr-defined]
    return list(groups.items())


def _sections(run: Run) -> dict[str, Any]:
    """What stands below the figures."""
    files = list(LogFile.objects.filter(run=run).defer("state", "head_hash", "tail_hash").order_by("first_wall", "id"))
    current = {"generation": F("log_file__generation")}
    errors = Event.objects.filter(run=run, level__in=ERRORS, generation=F("log_file__generation"))
    return {
        "files": files,
        "damaged": [file for file in files if file.damages or file.bad_records or file.lost_bytes or file.error],
        "segments": _first(run.segments.filter(**current).select_related("log_file").order_by("first_wall", "id")),
        "texts": _first(run.texts.filter(**current).order_by("tag", "-step", "id")),
        "samples": _first(run.samples.filter(**current).select_related("log_file").order_by("tag", "-step", "id")),
        "transitions": _first(run.transitions.select_related("job").order_by("-id")),
        "jobs": _first(run.jobs.order_by("-last_event", "-id")),
        "errors": _first(errors.order_by("-id")),
    }


def _first(rows: QuerySet[Any]) -> Section:
    """The first rows, counting all only where there are more."""
    shown = list(rows[: ROWS + 1])
    total = rows.count() if len(shown) > ROWS else len(shown)
    return Section(shown[:ROWS], total)
