"""Many runs with one value each: what parallel coordinates, the scatter plot and their tables show."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from django.db.models import Count
from django.urls import reverse

from runs.aggregates import FIGURES
from runs.charts import MAIN_TAGS
from runs.figures import axis_numbers
from runs.models import Run, Series
from runs.parallel import Axis, axis, by_name, telling
from runs.thinning import nice_ticks

#: Runs that one sweep holds.
RUNS = 500
#: Names of metrics that a choice offers.
OFFERED = 300
MISSING = object()


@dataclass(frozen=True, slots=True)
class Dot:
    """A run in the scatter plot, ``left`` and ``top`` in percent."""

    pk: int
    name: str
    left: float
    top: float
    title: str
    colour: int


@dataclass(slots=True)
class Scale:
    """An axis laid out from 0 to 100 percent."""

    axis: Axis
    ticks: list[tuple[float, str]] = field(default_factory=list)
    low: float = 0.0
    high: float = 1.0

    def place(self, value: float) -> float:
        """Where a value stands, in percent."""
        if self.axis.kind == "log":
            value = math.log10(value)
        return round((value / 2 - self.low / 2) / (self.high / 2 - self.low / 2) * 100, 2)


class Sweep:
    """Runs in order, at most RUNS: the caller gives only ids that its user may see."""

    def __init__(self, ids: Sequence[int]) -> None:
        self.more = len(ids) > RUNS
        rows = {
            pk: (name, params, dataset)
            for pk, name, params, dataset in Run.objects.filter(pk__in=ids[:RUNS]).order_by()
            .values_list("pk", "name", "params", "dataset__name")
        }
        self.ids = [pk for pk in ids if pk in rows]
        self.names = [rows[pk][0] for pk in self.ids]
        self.datasets = [rows[pk][2] for pk in self.ids]
        self._params = [rows[pk][1] for pk in self.ids]

    @cached_property
    def parameters(self) -> dict[str, list[Any]]:
        """The values of all runs for each parameter, and for the dataset where there are several."""
        columns = by_name(self._params, MISSING)
        if len(set(self.datasets)) > 1:
            columns.setdefault("dataset", [MISSING if name is None else name for name in self.datasets])
        return columns

    @cached_property
    def telling(self) -> list[str]:
        """The parameters that tell these runs apart, the most telling first."""
        return telling(self.parameters, MISSING)

    @cached_property
    def _counted(self) -> dict[str, int]:
        """How many of the runs have each metric, the commonest first."""
        tags = Series.objects.filter(run__in=self.ids).order_by().values("tag__name").annotate(runs=Count("pk"))
        return dict(tags.order_by("-runs", "tag__name").values_list("tag__name", "runs")[:OFFERED])

    @property
    def metrics(self) -> list[str]:
        """The metrics of these runs, those that most of them have first."""
        return list(self._counted)

    def main_metric(self) -> str:
        """What most of these runs are first judged by: a main tag, else the commonest metric."""
        main = [tag for tag in MAIN_TAGS if tag in self._counted] or self.metrics
        return max(main, key=self._counted.__getitem__, default="")

    def metric(self, tag: str, figure: str) -> list[float | None]:
        """One figure of a metric for each run."""
        found = dict(Series.objects.filter(run__in=self.ids, tag__name=tag).values_list("run", FIGURES[figure]))
        return [value if (value := found.get(pk)) is None or math.isfinite(value) else None for pk in self.ids]

    def axis(self, key: str, figure: str) -> Axis:
        """The axis of ``param:lr`` or ``metric:train/loss``."""
        kind, _, name = key.partition(":")
        if kind == "metric":
            return axis(f"{name} ({figure})" if figure != "last" else name, self.metric(name, figure))
        return axis(name, self.parameters.get(name, [MISSING] * len(self.ids)), MISSING)


def parallel_data(sweep: Sweep, axes: Iterable[Axis]) -> dict[str, Any]:
    """What static/js/parallel.js draws."""
    return {
        "runs": [
            {"id": pk, "name": name, "url": reverse("run", args=[pk])}
            for pk, name in zip(sweep.ids, (name[:200] for name in sweep.names), strict=True)
        ],
        "axes": [{"name": a.name, "kind": a.kind, "values": a.values, "words": a.words} for a in axes],
    }


def scale(of: Axis) -> Scale:
    """Lay out an axis with round ticks and some air at both ends."""
    made = Scale(of)
    known = [value for value in of.values if value is not None]
    if of.kind == "word":
        made.low, made.high = -0.5, len(of.words) - 0.5
        made.ticks = [(made.place(float(number)), word) for number, word in enumerate(of.words)]
        return made
    if not known:
        return made
    places = [math.log10(value) for value in known] if of.kind == "log" else known
    air = (max(places) / 20 - min(places) / 20) or abs(places[0]) / 10 or 1.0
    made.low, made.high = max(min(places) - air, -1.7e308), min(max(places) + air, 1.7e308)
    if of.kind == "log":
        powers = [10.0**power for power in range(max(math.ceil(made.low), -307), min(math.floor(made.high), 308) + 1)]
        made.ticks = [(made.place(power), f"{power:g}") for power in powers[:: len(powers) // 6 + 1]]
    else:
        ticks = nice_ticks(made.low, made.high, 5)
        made.ticks = [(made.place(tick), text) for tick, text in zip(ticks, axis_numbers(ticks), strict=True)]
    return made


def dots(sweep: Sweep, across: Scale, up: Scale, colours: Sequence[int], texts: Sequence[str]) -> list[Dot]:
    """A dot for each run that has both values."""
    return [
        Dot(pk, name, across.place(x), round(100 - up.place(y), 2), text, colour)
        for pk, name, x, y, colour, text in zip(
            sweep.ids, sweep.names, across.axis.values, up.axis.values, colours, texts, strict=True
        )
        if x is not None and y is not None
    ]
