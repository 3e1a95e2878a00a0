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
    from collections.abc import Sequence

    from django.http import HttpRequest, HttpResponse

#: Cards on one page; figures that the server itself draws are fewer, since each is decoded.
CARDS_PER_PAGE, FIGURES_PER_PAGE = 500, 48
#: Groups of tags that stand before the others, after the tags without a group.
FIRST_GROUPS = ("train", "eval", "val")


def run_charts(request: HttpRequest, pk: int) -> HttpResponse:
    """A run that the user may see, and what it measured."""
    run = find(request, pk)
    return show(request, run, "charts", _charts(request, run))


def _charts(request: HttpRequest, run: Run) -> dict[str, Any]:
    """A card a tag, by group: the browser draws them; plain pages bring figures."""
    form = FigurePage(request.GET)
    asked = form.cleaned_data if form.is_valid() else {}
    plain = bool(asked.get("plain"))
    series = _grouped(run)
    groups = list(series.order_by().values("place", "group").annotate(tags=Count("pk")).order_by("place", "group"))
    chosen = request.GET.get("group") if "group" in request.GET else None
    if chosen is not None:
        series = series.filter(group=asked.get("group", ""))
    pages = Paginator(series, FIGURES_PER_PAGE if plain else CARDS_PER_PAGE)
    pages.count = sum(g["tags"] for g in groups if chosen is None or g["group"] == chosen)  # type: ignore[misc]
    page: Page[Series] = pages.get_page(asked.get("page") or 1)
    rows = list(page.object_list)
    return {
        "groups": groups,
        "chosen": chosen,
        "plain": plain,
        "tag_count": sum(g["tags"] for g in groups),
        "page": page,
        "card_groups": _by_group(rows, figures(rows) if plain else rows),
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


def _by_group(rows: list[Any], cards: Sequence[Figure | Series]) -> list[tuple[str, list[Figure | Series]]]:
    groups: dict[str, list[Figure | Series]] = {}
    for row, card in zip(rows, cards, strict=True):
        groups.setdefault(row.group, []).append(card)
    return list(groups.items())
