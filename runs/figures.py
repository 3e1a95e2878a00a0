"""The geometry of a figure: paths, ticks and marks that a template writes as SVG.

The plot is a viewBox of WIDTH x HEIGHT that the page stretches to its card; ticks are
percentages, so that text is never stretched with it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from runs.charts import Drawing, Line, Main, drawings, main_series
from runs.models import Bookmark, LogFile, Note, Run, Series
from runs.thinning import Array, nice_ticks, thin

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser, User

WIDTH, HEIGHT = 1000, 400
#: Buckets across a figure: about its width in pixels on a page of four columns.
BUCKETS = 300
SPARK_WIDTH, SPARK_HEIGHT = 80, 20
#: Points that the sparklines of one page of runs decode at most.
SPARK_POINTS = 1_000_000
#: Sparklines kept in memory, of about 500 bytes: drawing those of a page takes as long as all else on it.
SPARKS_REMEMBERED = 10_000
_remembered: dict[tuple[int, int, int, float | None], str] = {}


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


@dataclass(frozen=True, slots=True)
class Spark:
    """A run's main metric in a list: its tag, last value and a small curve."""

    tag: str
    last: float | None
    d: str


def figures(series: Sequence[Series]) -> list[Figure]:
    """The figures of some series of a run."""
    drawn = drawings(series)
    return [figure(one, drawn[one.pk]) for one in series]


def figure(series: Series, drawing: Drawing) -> Figure:
    """Lay out one drawing."""
    made = Figure(series, writers=drawing.writers if len(drawing.writers) > 1 else [], coarse=drawing.coarse)
    if not drawing.lines:
        return made
    left, right = _steps_between(drawing.lines)
    low, high, scale = _values_between(drawing.lines)
    for line in drawing.lines:
        css = f"w{line.writer % 10} old" if line.old else f"w{line.writer % 10}"
        strokes = thin(line.steps, line.values * scale, left, right, BUCKETS)
        dots = [stroke for stroke in strokes if len(stroke[0]) == 1]
        long = [stroke for stroke in strokes if len(stroke[0]) > 1]
        for kind, some in (("line", long), ("line dot", dots)):
            if some:
                d = _path(some, (left, right), (low, high), (WIDTH, HEIGHT))
                made.paths.append(Path(f"{kind} {css}", d))
    made.paths.extend(_marks(drawing.lines, left, right))
    for restart in drawing.restarts:
        at = (restart.step - left) / (right - left) * 100
        made.rules.append(Rule(round(at, 2), f"{restart.why} at step {restart.step:,}"))
    made.x_ticks = _x_ticks(left, right)
    if any(path.css.startswith("line") for path in made.paths):
        made.y_ticks = _y_ticks(low, high, scale)
    return made


def _steps_between(lines: Sequence[Line]) -> tuple[float, float]:
    left = float(min(line.steps.min() for line in lines))
    right = float(max(line.steps.max() for line in lines))
    return (left, right) if left < right else (left - 0.5, right + 0.5)


def _values_between(lines: Sequence[Line]) -> tuple[float, float, float]:
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


def _path(
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


def dress_rows(
    runs: Sequence[Run], user: User | AnonymousUser | None = None, main: Mapping[int, Main] | None = None
) -> Sequence[Run]:
    """Give each run what its row shows beside its columns, for a whole page of runs at once.

    Its main metric with a sparkline, how many of its files cannot be read further, its
    notes, and whether the user or the team has bookmarked it.  ``main`` are the main metrics where
    they were looked up already; none: no sparklines.
    """
    ids = [run.pk for run in runs]
    if not ids:
        return runs
    notes = Counter(Note.objects.filter(run__in=ids).order_by().values_list("run", flat=True))
    bookmarks = _bookmarks(ids, user) if user else {}
    stuck = Counter(LogFile.objects.filter(run__in=ids).exclude(error="").order_by().values_list("run", flat=True))
    best = main_series(ids) if main is None else main
    paths = _sparks([(run, best[run.pk]) for run in runs if run.pk in best])
    for run in runs:
        run.unreadable, run.noted = stuck[run.pk], notes[run.pk]
        run.bookmarked = bookmarks.get(run.pk, False)
        run.shared_bookmark = run.pk in bookmarks
        one = best.get(run.pk)
        run.main = Spark(one.tag, one.last, paths[run.pk]) if one else None
    return runs


def _sparks(pairs: Sequence[tuple[Run, Main]]) -> dict[int, str]:
    """The sparklines of some runs.  Those of runs that did not change since are remembered."""
    keys = {run.pk: (one.series, run.version, one.points, one.last_wall) for run, one in pairs}
    new = [one.series for run, one in pairs if keys[run.pk] not in _remembered]
    drawn = drawings(list(Series.objects.filter(pk__in=new)), SPARK_POINTS) if new else {}
    paths = {
        run.pk: spark(drawn[one.series]) if one.series in drawn else _remembered.get(keys[run.pk], "") for run, one in pairs
    }
    if len(_remembered) > SPARKS_REMEMBERED:
        _remembered.clear()
    _remembered.update({keys[pk]: path for pk, path in paths.items()})
    return paths


def _bookmarks(ids: Sequence[int], user: User | AnonymousUser) -> dict[int, bool]:
    """The runs that the user sees bookmarked, and whether a bookmark is their own."""
    marks: dict[int, bool] = {}
    for run, owner in Bookmark.objects.visible_to(user).filter(run__in=ids).order_by().values_list("run_id", "owner_id"):
        marks[run] = marks.get(run, False) or owner == user.pk
    return marks


def spark(drawing: Drawing) -> str:
    """The path of a sparkline: the last attempts only."""
    lines = [line for line in drawing.lines if not line.old]
    if not lines:
        return ""
    steps = _steps_between(lines)
    low, high, scale = _values_between(lines)
    strokes = [
        stroke
        for line in lines
        for stroke in thin(line.steps, line.values * scale, *steps, SPARK_WIDTH // 2)
    ]
    return _path(strokes, steps, (low, high), (SPARK_WIDTH, SPARK_HEIGHT))
