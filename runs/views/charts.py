"""The Charts tab: the figures of a run's metrics, by group."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.paginator import Page, Paginator
from django.db.models import Case, Count, F, Func, IntegerField, Q, QuerySet, TextField, Value, When

from runs.figures import Figure, figures
from runs.forms import FigurePage
from runs.models import Run, Series
from runs.views.page import find, show

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

FIGURES_PER_PAGE = 48
#: Groups of tags that stand before the others, after the tags without a group.
FIRST_GROUPS = ("train", "eval", "val")


def run_charts(request: HttpRequest, pk: int) -> HttpResponse:
    """A run that the user may see, and what it measured."""
    run = find(request, pk)
    return show(request, run, "charts", _charts(request, run))


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
