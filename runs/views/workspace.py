"""The workspace: runs beside one another, as charts, differences, parallel coordinates, dots and datasets."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from django.contrib.postgres.aggregates import ArrayAgg
from django.db.models import Sum
from django.http import Http404
from django.shortcuts import render

from runs.aggregates import FIGURES as COLUMNS
from runs.aggregates import by_dataset
from runs.charts import Drawing, drawings
from runs.colours import COLOURS
from runs.compare import Cell, Row, metric_row, parameter_rows
from runs.figures import Figure, figure
from runs.models import Series
from runs.parallel import AXES as SOME
from runs.parallel import Axis
from runs.query.limits import bounded
from runs.sweep import MISSING, RUNS, Scale, Sweep, dots, parallel_data, scale
from runs.templatetags.shown import four_digits, plain
from runs.workspace import AXES, CHOICES, FIGURES, SHOWN, SPREADS, TABS, Workspace, group_looks, group_names, metric_of

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

#: Tags that one page draws; without scripts each costs the server its points, so there are fewer.
CARDS, PLAIN_CARDS = 300, 24
#: Rows of each part of the table of differences.
ROWS = 500
#: Groups of tags that stand before the others, after the tags without a group.
FIRST_GROUPS = ("", "train", "eval", "val")
#: Names that a choice of parameters offers.
OFFERED = 100

Context = dict[str, Any]


@dataclass(slots=True)
class Card:
    """A tag and the shown runs that have it; ``figure`` where it is drawn without scripts."""

    tag: str
    runs: list[int]
    points: int
    figure: Figure | None = None


def workspace(request: HttpRequest) -> HttpResponse:
    """The runs that a query string names, as far as the user may see them."""
    space = Workspace(request.GET, request.user)
    if not space.is_valid():
        return render(request, "workspace_wrong.html", {"space": space}, status=400)
    if space.missing and not space.shown:
        raise Http404
    tabs = [(name, label, space.link(tab=name)) for name, label in TABS.items()]
    panel = PANELS[space.tab](space)
    return render(request, "workspace.html", {"space": space, "tabs": tabs, "panel": f"_workspace_{space.tab}.html", **panel})


# charts


def _charts(space: Workspace) -> Context:
    """A card a tag of the shown runs, by group."""
    plain = space.asked("plain")
    limit = PLAIN_CARDS if plain else CARDS
    found = _cards(space, limit)
    cards = found[:limit]
    if plain:
        _draw(space, cards)
    asked = space.asked("x") or "step"
    metric = metric_of(asked)
    group = space.asked("group")
    groupings = _groupings(space)
    if group and group not in dict(groupings):
        groupings.append((group, group.removeprefix("param:")))
    named = group_looks(group_names(space.shown, group)) if group else []
    return {"charts": {
        "groups": _by_prefix(cards), "more": len(found) > limit, "limit": limit, "tags": space.asked("tags"),
        "x": metric or "", "axis": asked if metric is None else "step", "asked_x": asked,
        "axes": [("", AXES["step"]), *list(AXES.items())[1:]],
        "metrics": _metric_choices(cards, asked), "group": group, "groupings": groupings, "named_groups": named,
        "spread": space.asked("spread"), "spreads": list(SPREADS.items()),
        "kept": space.kept("tags", "x", "group", "spread"),
        "plain": plain, "plain_link": space.link(plain="1"), "all_tags": space.link(tags=None),
    }}


def _cards(space: Workspace, limit: int) -> list[Card]:
    """The tags of the shown runs, at most one more than the limit, in the order of the page."""
    series = Series.objects.filter(run__in=[run.pk for run in space.shown])
    if words := space.asked("tags"):
        series = series.filter(tag__name__icontains=words)
    found = series.order_by().values("tag__name").annotate(runs=ArrayAgg("run_id"), points=Sum("count"))
    found = found.order_by("tag__name")[: limit + 1]
    order = {run.pk: number for number, run in enumerate(space.shown)}
    return [Card(row["tag__name"], sorted(row["runs"], key=order.__getitem__), row["points"]) for row in found]


def _by_prefix(cards: Iterable[Card]) -> list[tuple[str, list[Card]]]:
    """Cards by the part of their tag before the first slash."""
    groups: dict[str, list[Card]] = {}
    for card in cards:
        prefix, slash, _ = card.tag.partition("/")
        groups.setdefault(prefix if slash else "", []).append(card)
    place = {name: rank for rank, name in enumerate(FIRST_GROUPS)}
    return sorted(groups.items(), key=lambda group: (place.get(group[0], len(place)), group[0].casefold()))


def _draw(space: Workspace, cards: list[Card]) -> None:
    """The lines of all runs of a tag in one figure, each in its run's colour."""
    tags = [card.tag for card in cards]
    shown = [run.pk for run in space.shown]
    series = list(Series.objects.filter(run__in=shown, tag__name__in=tags).select_related("tag"))
    drawn = drawings(series)
    for card in cards:
        mine = [one for one in series if one.tag.name == card.tag]
        lines = [
            replace(line, writer=space.looks[one.run_id].colour)
            for one in mine for line in drawn[one.pk].lines
        ]
        card.figure = figure(mine[0], Drawing(lines, coarse=any(drawn[one.pk].coarse for one in mine)))


def _metric_choices(cards: list[Card], asked: str) -> list[tuple[str, str]]:
    """The metrics that can be the x axis; one that is called like an axis stands in quotes."""
    names = [(f'"{card.tag}"' if card.tag in AXES else card.tag, card.tag) for card in cards]
    if asked not in AXES and asked not in dict(names):
        names.append((asked, asked))
    return names


def _groupings(space: Workspace) -> list[tuple[str, str]]:
    """What the shown runs can be grouped by: where they are alike there is nothing to group."""
    differing = [row.name for row in parameter_rows([run.params for run in space.shown]) if row.differs] if space.shown else []
    params = [(f"param:{name}", name) for name in differing[:OFFERED] if len(name) <= 1000]
    return [("", "no grouping"), ("dataset", "dataset"), ("trainer", "trainer"), ("status", "status"), *params]


# differences


def _table(space: Workspace) -> Context:
    """Parameters and figures of metrics, a column a run."""
    if not space.shown:
        return {}
    everything = space.asked("rows") == "all"
    figures = list(FIGURES) if space.asked("figure") == "every" else [space.asked("figure")]
    parameters, metrics = parameter_rows([run.params for run in space.shown]), _metric_rows(space, figures)
    sections = [_section("Parameters", parameters, everything), _section("Metrics", metrics, everything)]
    return {"table": {
        "sections": sections, "heads": [(run, space.looks[run.pk]) for run in space.shown],
        "pair": len(space.shown) == 2, "width": len(space.shown) + 1 + (len(space.shown) == 2),
        "none_differ": not any(rows for _, rows, _ in sections), "all_rows": space.link(rows="all"),
        "rows": space.asked("rows"), "row_choices": list(CHOICES["rows"].items()),
        "figure": space.asked("figure"), "figures": list(CHOICES["figure"].items()), "kept": space.kept("rows", "figure"),
    }}


def _section(title: str, rows: list[Row], everything: bool) -> tuple[str, list[Row], int]:
    shown = rows if everything else [row for row in rows if row.differs]
    return title, shown[:ROWS], max(0, len(shown) - ROWS)


def _metric_rows(space: Workspace, figures: list[str]) -> list[Row]:
    """A row a metric and figure, those first that most of the runs have."""
    runs = [run.pk for run in space.shown]
    tags: dict[str, dict[int, dict[str, float | None]]] = {}
    columns = [COLUMNS[name] for name in FIGURES]
    series = Series.objects.filter(run__in=runs).order_by("tag__name", "run")
    for tag, run, *values in series.values_list("tag__name", "run", *columns)[: ROWS * SHOWN]:
        tags.setdefault(tag, {})[run] = dict(zip(FIGURES, values, strict=True))
    rows = []
    for tag, known in sorted(tags.items(), key=lambda item: (-len(item[1]), item[0])):
        for name in figures:
            said = "" if figures == ["last"] else FIGURES[name]
            rows.append(metric_row(tag, said, [known.get(run, {}).get(name) for run in runs]))
    return rows


# many runs


def _many(space: Workspace, sweep: Sweep, *own: str) -> Context:
    """What the tabs over up to five hundred runs share."""
    figure_ = space.asked("figure") if space.asked("figure") in FIGURES else "last"
    return {
        "y": space.asked("y") or sweep.main_metric(), "figure": figure_, "figure_label": FIGURES[figure_],
        "figures": list(FIGURES.items()), "limit": RUNS, "kept": space.kept("y", "figure", *own),
    }


def _parallel(space: Workspace) -> Context:
    """An axis a parameter, and at the right the metric that colours the lines."""
    sweep = Sweep(space.many(RUNS + 1))
    many = _many(space, sweep, "axis")
    asked = [name for name in dict.fromkeys(space.data.getlist("axis")) if name in sweep.parameters][: SOME * 2]
    names = asked or sweep.telling[:SOME]
    axes = [sweep.axis(f"param:{name}", "last") for name in names]
    if many["y"]:
        axes.append(sweep.axis(f"metric:{many['y']}", many["figure"]))
    offered = [*names, *(name for name in [*sweep.telling, *sweep.parameters] if name not in names)]
    columns = [_cells(axis, sweep.parameters.get(axis.name)) for axis in axes]
    rows = list(zip(sweep.ids, sweep.names, zip(*columns, strict=True), strict=True)) if columns else []
    many |= {
        "axes": axes, "rows": rows, "data": parallel_data(sweep, axes),
        "offered": [(name, name in names) for name in list(dict.fromkeys(offered))[:OFFERED]],
    }
    return {"sweep": sweep, "many": many}


def _cells(of: Axis, written: list[Any] | None) -> list[Cell]:
    """The values of an axis as cells of a table: parameters as they were written."""
    if written is not None:
        return [Cell() if value is MISSING else Cell(plain(value), missing=False) for value in written]
    return [Cell(value, value is None) for value in of.values]


def _scatter(space: Workspace) -> Context:
    """A dot a run: a metric by a parameter or another metric, coloured by dataset."""
    sweep = Sweep(space.many(RUNS + 1))
    many = _many(space, sweep, "across")
    across = space.asked("across") or (f"param:{sweep.telling[0]}" if sweep.telling else f"metric:{many['y']}")
    right, up = scale(sweep.axis(across, many["figure"])), scale(sweep.axis(f"metric:{many['y']}", many["figure"]))
    datasets = sorted({name for name in sweep.datasets if name is not None})
    colours = {name: number % COLOURS for number, name in enumerate(datasets)}
    texts = [_titled(sweep, at, right, up) for at in range(len(sweep.ids))]
    drawn = dots(sweep, right, up, [colours.get(name, COLOURS - 1) for name in sweep.datasets], texts)
    names = [name for name in [*sweep.telling, *sweep.parameters] if len(name) <= 1000]
    many |= {
        "across": right, "up": up, "up_ticks": [(round(100 - at, 2), label) for at, label in up.ticks],
        "dots": drawn, "without": len(sweep.ids) - len(drawn),
        "across_params": list(dict.fromkeys(names))[:OFFERED],
        "across_param": across.removeprefix("param:") if across.startswith("param:") else None,
        "across_metric": across.removeprefix("metric:") if across.startswith("metric:") else None,
        "named_groups": [(colours[name], name) for name in datasets[:COLOURS]] if len(datasets) > 1 else [],
    }
    return {"sweep": sweep, "many": many}


def _titled(sweep: Sweep, at: int, *scales: Scale) -> str:
    """What a dot says of its run."""
    said = [sweep.names[at][:200]]
    for one in scales:
        value = one.axis.values[at]
        text = "–" if value is None else one.axis.words[int(value)] if one.axis.words else four_digits(value)
        said.append(f"{one.axis.name}: {text}")
    return "\n".join(said)


def _datasets(space: Workspace) -> Context:
    """A metric over all runs of the list, by dataset (CH-56)."""
    sweep = Sweep(space.many(RUNS))
    many = _many(space, sweep)
    with bounded():
        many["datasets"] = by_dataset(space.query.runs(), many["y"], many["figure"]) if many["y"] else []
    return {"sweep": sweep, "many": many}


PANELS: dict[str, Callable[[Workspace], Context]] = {
    "charts": _charts, "table": _table, "parallel": _parallel, "scatter": _scatter, "datasets": _datasets,
}
