"""Lines of several runs over a metric, and groups of runs as mean and band: from the stored points, exact.

Every point of the shown attempts is read, none is taken from a coarser level: a mean of thinned
lines would be wrong.  So the question is bounded before anything is decoded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from runs.charts import drawn, origins, spans_of
from runs.compare import Array, Band, Curve, band, curve, grid, is_path, joined
from runs.models import Series
from runs.thinning import thinned

#: Points that one answer reads at most.
POINTS = 4_000_000


class TooManyPoints(Exception):
    """More points than one answer reads; the text says what to narrow."""


@dataclass(frozen=True, slots=True)
class RunLine:
    """A run's points over a metric, in order of x; ``path`` says whether a line through them has a meaning."""

    run: int
    at: Array
    values: Array
    path: bool


@dataclass(frozen=True, slots=True)
class GroupLine:
    """A group's mean and band."""

    name: str
    runs: list[int]
    band: Band


def run_lines(
    runs: Sequence[int], tag: str, x: str, points: int, low: float = -math.inf, high: float = math.inf
) -> list[RunLine]:
    """Each run's ``tag`` over its metric ``x``, thinned to about so many points between ``low`` and ``high``."""
    found = curves(runs, [tag, x])
    lines = []
    for run in runs:
        if (run, tag) in found and (run, x) in found:
            at, values = joined(found[run, x], found[run, tag])
            path = is_path(at)
            order = np.argsort(at, kind="stable")
            shown = _around(at[order], low, high)
            at, values = at[order][shown], values[order][shown]
            if path:
                at, values = _thin(at, values, points)
            else:
                kept = np.unique(np.linspace(0, len(at) - 1, min(len(at), points)).astype(np.int64))
                at, values = at[kept], values[kept]
            lines.append(RunLine(run, at, values, path))
    return lines


def _around(at: Array, low: float, high: float) -> slice:
    """What lies in a range, and its neighbours on both sides: a line through them goes to the edges."""
    return slice(max(0, int(np.searchsorted(at, low)) - 1), int(np.searchsorted(at, high, side="right")) + 1)


def _thin(at: Array, values: Array, points: int) -> tuple[Array, Array]:
    """At most about so many points, lowest and highest of each bucket."""
    if len(at) <= points or at[0] == at[-1]:
        return at[:points], values[:points]
    rows = thinned(at, values, float(at[0]), float(at[-1]), points // 2).rows
    return at[rows], values[rows]


def group_lines(
    names: Mapping[int, str], tag: str, points: int, spread: str = "range", x: str = "", axis: str = "step",
    low: float = -math.inf, high: float = math.inf,
) -> list[GroupLine]:
    """Mean and band of ``tag`` for each group of runs (run -> its name), over steps, time or the metric ``x`` in a range."""
    found = curves(list(names), [tag, x] if x else [tag], axis="step" if x else axis)
    groups: dict[str, dict[int, Curve]] = {}
    for run, name in names.items():
        if (run, tag) not in found or (x and (run, x) not in found):
            continue
        one = curve([joined(found[run, x], found[run, tag])]) if x else found[run, tag]
        groups.setdefault(name, {})[run] = one
    return [
        GroupLine(name, list(mine), band(list(mine.values()), grid(list(mine.values()), points, low, high), spread))
        for name, mine in groups.items()
    ]


def curves(runs: Sequence[int], tags: Sequence[str], axis: str = "step") -> dict[tuple[int, str], Curve]:
    """What these runs measured of these tags in their last attempts, over steps or seconds (wall, relative)."""
    series = list(Series.objects.filter(run__in=runs, tag__name__in=set(tags)).select_related("tag").order_by("pk"))
    if (count := sum(one.count for one in series)) > POINTS:
        raise TooManyPoints(
            f"These runs hold {count:,} points of {' and '.join(dict.fromkeys(tags))}, more than the {POINTS:,} that are read "
            "at once. Show fewer runs, or look at them over steps without a group: long lines are thinned there."
        )
    spans = spans_of({one.run_id for one in series})
    begun = origins(spans)
    found = {}
    for one, drawing in drawn(series, spans, points=POINTS):
        origin = begun.get(one.run_id, 0.0) if axis == "relative" else 0.0
        lines = [line for line in drawing.lines if not line.old]
        places = [line.steps if axis == "step" else line.walls - origin for line in lines]
        parts = [(at[known := np.isfinite(at)], line.values[known]) for at, line in zip(places, lines, strict=True)]
        found[one.run_id, one.tag.name] = curve(parts)
    return found


def plain_numbers(values: Array) -> list[float | None]:
    """Floats for JSON: what is no finite number is null."""
    return [value if math.isfinite(value) else None for value in values.tolist()]
