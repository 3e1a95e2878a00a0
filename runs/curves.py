"""Curves: lines made ready for an answer, thinned on the axis that is looked at."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from runs.charts import Drawing, Line, Restart, Span, drawn, origins
from runs.models import Series
from runs.pieces import POINTS_PER_PAGE, Array, Window
from runs.thinning import Marks, thinned

#: Superseded attempts that are lines of their own; still older ones are drawn as one.
OLD_ATTEMPTS = 20
#: From here on whole numbers are not all float64: they are rounded, and the answer says so.
EXACT_STEPS = 2**53


@dataclass(frozen=True, slots=True)
class View:
    """What is looked at: an axis, a range of it, and how many points a line may have (None: all)."""

    axis: str = "step"
    low: float = -math.inf
    high: float = math.inf
    points: int | None = 1000

    @property
    def zoomed(self) -> bool:
        return math.isfinite(self.low) or math.isfinite(self.high)


@dataclass(frozen=True, slots=True)
class Curve:
    """A line in the range of a view: points as they were written, of which ``count`` lie in the range."""

    writer: int
    old: bool
    count: int
    steps: Array
    walls: Array
    values: Array
    means: Array | None
    breaks: Array
    marks: Marks
    mark_steps: Array
    mark_walls: Array

    @property
    def rounded(self) -> bool:
        """Whether its steps are too large for float64."""
        return bool(len(self.steps)) and max(abs(int(self.steps.min())), abs(int(self.steps.max()))) > EXACT_STEPS


@dataclass(frozen=True, slots=True)
class Curves:
    """One series as an answer shows it; ``origin`` is when its run began, ``place`` what newer points join (newer.Place)."""

    series: Series
    origin: float | None
    writers: list[str]
    restarts: list[Restart]
    coarse: bool
    curves: list[Curve]
    place: tuple[int, ...] | None = None


def curves(
    series: Sequence[Series], spans: Mapping[int, Span], view: View, budget: int = POINTS_PER_PAGE
) -> Iterator[Curves]:
    """The curves of one series after the other."""
    begun = origins(spans)
    for one, drawing in drawn(series, spans, _windows(series, begun, view), budget):
        origin = begun.get(one.run_id)
        made = _curves(drawing, view, origin)
        yield Curves(one, origin, drawing.writers, drawing.restarts, drawing.coarse, made)


def _windows(series: Sequence[Series], begun: Mapping[int, float], view: View) -> dict[int, Window] | None:
    """The range of each run: seconds since its start are times of its own."""
    if not view.zoomed:
        return None
    shifts = {one.run_id: begun.get(one.run_id, 0.0) if view.axis == "relative" else 0.0 for one in series}
    return {run: Window(view.low + by, view.high + by, view.axis != "step") for run, by in shifts.items()}


def _curves(drawing: Drawing, view: View, origin: float | None) -> list[Curve]:
    """All lines cut to the view, on one grid of buckets."""
    cut = [_cut(line, view, origin) for line in _joined(drawing.lines)]
    cut = [(line, x) for line, x in cut if len(x)]
    if not cut:
        return []
    low = max(view.low, min(float(x[0]) for _, x in cut))
    high = min(view.high, max(float(x[-1]) for _, x in cut))
    return [_curve(line, x, view, low, high) for line, x in cut]


def _joined(lines: Sequence[Line]) -> list[Line]:
    """One line of each writer's valid points, over its superseded ones, of which the oldest are one line."""
    old = [line for line in lines if line.old]
    valid: dict[int, list[Line]] = {}
    for line in lines:
        if not line.old:
            valid.setdefault(line.writer, []).append(line)
    if len(old) > OLD_ATTEMPTS:
        old = [_concatenated(old[: -OLD_ATTEMPTS + 1]), *old[-OLD_ATTEMPTS + 1 :]]
    return old + [_concatenated(some) for some in valid.values()]


def _concatenated(lines: Sequence[Line]) -> Line:
    first = lines[0]
    if len(lines) == 1:
        return first
    steps, walls, values = (
        np.concatenate([getattr(line, name) for line in lines]) for name in ("steps", "walls", "values")
    )
    return Line(first.writer, steps, walls, values, first.old)


def _cut(line: Line, view: View, origin: float | None) -> tuple[Line, Array]:
    """The line in the order of the axis, within the range and one point beyond on each side, and its place there."""
    x = _along(line, view.axis, origin)
    if not np.isfinite(x).all():
        known = np.isfinite(x)
        line, x = _taken(line, known), x[known]
    if (x[1:] < x[:-1]).any():
        order = np.argsort(x, kind="stable")
        line, x = _taken(line, order), x[order]
    if not view.zoomed:
        return line, x
    begin = max(0, int(np.searchsorted(x, view.low)) - 1)
    inside = slice(begin, int(np.searchsorted(x, view.high, side="right")) + 1)
    return _taken(line, inside), x[inside]


def _along(line: Line, axis: str, origin: float | None) -> Array:
    if axis == "step":
        return line.steps.astype(np.float64)
    if axis == "wall":
        return line.walls
    return line.walls - (math.nan if origin is None else origin)


def _taken(line: Line, which: Array | slice) -> Line:
    return Line(line.writer, line.steps[which], line.walls[which], line.values[which], line.old)


def _curve(line: Line, x: Array, view: View, low: float, high: float) -> Curve:
    buckets = len(x) if view.points is None else view.points // 2
    left = thinned(x, line.values, low, high, buckets)
    kept = _taken(line, left.rows)
    count = int(np.searchsorted(x, view.high, side="right") - np.searchsorted(x, view.low))
    odd = _taken(line, left.marks.rows)
    return Curve(line.writer, line.old, count, kept.steps, kept.walls, kept.values, left.means, left.breaks,
                 left.marks, odd.steps, odd.walls)
