"""The geometry of a figure: paths, ticks and marks that a template writes as SVG.

The plot is a viewBox of WIDTH x HEIGHT that the page stretches to its card; ticks are
percentages, so that text is never stretched with it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from runs.charts import Drawing, Line, drawings
from runs.models import Series
from runs.thinning import Array, nice_ticks, thin

WIDTH, HEIGHT = 1000, 400
#: Buckets across a figure: about its width in pixels on a page of four columns.
BUCKETS = 300


@dataclass(frozen=True, slots=True)
class Tick:
    """A number beside an axis, ``at`` percent from the left or the top."""

    at: float
    label: str
    anchor: str = "middle"


@dataclass(frozen=True, slots=True)
class Path:
    """An SVG path and the classes that colour it."""

    css: str
    d: str
    title: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """A thin vertical line where an attempt took over."""

    at: float
    title: str


@dataclass(slots=True)
class Figure:
    """What the template ``_figure.html`` draws."""

    series: Series
    paths: list[Path] = field(default_factory=list)
    x_ticks: list[Tick] = field(default_factory=list)
    y_ticks: list[Tick] = field(default_factory=list)
    rules: list[Rule] = field(default_factory=list)
    writers: list[str] = field(default_factory=list)
    coarse: bool = False

    @property
    def wide(self) -> bool:
        """Whether the numbers beside the y axis need more room than usual."""
        return any(len(tick.label) > 7 for tick in self.y_ticks)


def figures(series: Sequence[Series]) -> list[Figure]:
    """The figures of some series of a run."""
    drawn = drawings(series)
    return [figure(one, drawn[one.pk]) for one in series]


def figure(series: Series, drawing: Drawing) -> Figure:
    """Lay out one drawing."""
    made = Figure(series, writers=drawing.writers if len(drawing.writers) > 1 else [], coarse=drawing.coarse)
    if not drawing.lines:
        return made
    left, right = steps_between(drawing.lines)
    low, high, scale = values_between(drawing.lines)
    for line in drawing.lines:
        css = f"w{line.writer % 10} old" if line.old else f"w{line.writer % 10}"
        strokes = thin(line.steps, line.values * scale, left, right, BUCKETS)
        dots = [stroke for stroke in strokes if len(stroke[0]) == 1]
        long = [stroke for stroke in strokes if len(stroke[0]) > 1]
        for kind, some in (("line", long), ("line dot", dots)):
            if some:
                d = path_of(some, (left, right), (low, high), (WIDTH, HEIGHT))
                made.paths.append(Path(f"{kind} {css}", d))
    made.paths.extend(_marks(drawing.lines, left, right))
    for restart in drawing.restarts:
        at = (restart.step - left) / (right - left) * 100
        made.rules.append(Rule(round(at, 2), f"{restart.why} at step {restart.step:,}"))
    made.x_ticks = _x_ticks(left, right)
    if any(path.css.startswith("line") for path in made.paths):
        made.y_ticks = _y_ticks(low, high, scale)
    return made


def steps_between(lines: Sequence[Line]) -> tuple[float, float]:
    """The first and last step; around the only one, where there is no more."""
    left = float(min(line.steps.min() for line in lines))
    right = float(max(line.steps.max() for line in lines))
    return (left, right) if left < right else (left - 0.5, right + 0.5)


def values_between(lines: Sequence[Line]) -> tuple[float, float, float]:
    """Bounds of the finite values with some air, and a factor that keeps their distance finite."""
    finite = [line.values[np.isfinite(line.values)] for line in lines]
    finite = [values for values in finite if len(values)]
    if not finite:
        return 0.0, 1.0, 1.0
    low = float(min(values.min() for values in finite))
    high = float(max(values.max() for values in finite))
    scale = 1.0
    if not math.isfinite(high - low):
        scale, low, high = 0.25, low / 4, high / 4
    air = (high - low) * 0.05 or abs(high) * 0.1 or 1.0
    return low - air, high + air, scale


def path_of(
    strokes: Sequence[tuple[Array, Array]],
    steps: tuple[float, float],
    values: tuple[float, float],
    size: tuple[int, int],
) -> str:
    """Whole-number coordinates: a third of the bytes, and finer than a pixel."""
    width, height = size
    written = []
    for x, y in strokes:
        across = np.rint((x - steps[0]) / (steps[1] - steps[0]) * width)
        down = np.rint(height - (y - values[0]) / (values[1] - values[0]) * height)
        points = np.column_stack((across, down)).astype(np.int64)
        if len(points) == 1:
            # a stroke without length, drawn as a dot by its round ends
            written.append(f"M{points[0][0]} {points[0][1]}h0")
        else:
            written.append("M" + " ".join(map(str, points.ravel().tolist())))
    return "".join(written)


def _marks(lines: Sequence[Line], left: float, right: float) -> list[Path]:
    """NaN and Inf as ticks on the edge where they would leave the figure."""
    steps = np.concatenate([line.steps for line in lines]).astype(np.float64)
    values = np.concatenate([line.values for line in lines])
    if np.isfinite(values).all():
        return []
    marks = []
    kinds = [
        ("nan", "NaN", np.isnan(values), f"{HEIGHT}v-24"),
        ("inf", "+Inf", np.isposinf(values), "0v24"),
        ("inf", "-Inf", np.isneginf(values), f"{HEIGHT}v-24"),
    ]
    for css, word, where, stroke in kinds:
        if where.any():
            across = np.rint((steps[where] - left) / (right - left) * WIDTH).astype(np.int64)
            d = "".join(f"M{x} {stroke}" for x in np.unique(across).tolist())
            first = int(steps[where].min())
            marks.append(Path(f"mark {css}", d, f"{int(where.sum()):,} {word}, first at step {first:,}"))
    return marks


def _x_ticks(left: float, right: float) -> list[Tick]:
    ticks = []
    for step in nice_ticks(left, right, 4):
        if step == int(step):
            at = (step - left) / (right - left) * 100
            anchor = "start" if at < 2 else "end" if at > 94 else "middle"
            ticks.append(Tick(round(at, 2), short_step(int(step)), anchor))
    return ticks


def _y_ticks(low: float, high: float, scale: float) -> list[Tick]:
    values = nice_ticks(low, high, 4)
    labels = axis_numbers([value / scale for value in values])
    return [
        Tick(round((high - value) / (high - low) * 100, 2), label)
        for value, label in zip(values, labels, strict=True)
    ]


def short_step(step: int) -> str:
    """A step beside an axis: 800, 12k, 1.5M."""
    for size, letter in ((1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")):
        if abs(step) >= size:
            return f"{step / size:.4g}{letter}"
    return str(step)


def axis_numbers(values: Sequence[float]) -> list[str]:
    """Values beside an axis, all written alike, with as many digits as tell them apart."""
    if not values:
        return []
    unit = abs(values[1] - values[0]) if len(values) > 1 else abs(values[0])
    largest = max(abs(value) for value in values)
    if not unit or not math.isfinite(unit):
        return [f"{value:.3g}" for value in values]
    digits = -math.floor(math.log10(unit) + 1e-9)
    if abs(unit * 10.0**digits - round(unit * 10.0**digits)) > 1e-6:
        digits += 1  # steps of 2.5
    if 1e-3 <= largest < 1e6:
        return ["0" if abs(value) < unit / 1000 else f"{value:.{max(0, digits)}f}" for value in values]
    digits = min(12, max(0, math.floor(math.log10(largest)) + digits))
    return ["0" if abs(value) < unit / 1000 else f"{value:.{digits}e}" for value in values]
