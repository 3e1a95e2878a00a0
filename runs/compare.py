"""Runs beside one another: joined, averaged, told apart.  Pure: numbers in, numbers out.

Three rules that everything here follows:

- *One value a step.*  A curve is what a run's last attempts measured, in step order; where
  parallel writers (or one writer twice) logged the same step, their mean stands for it.
- *Nothing is invented.*  A curve is read between two of its own neighbouring finite points,
  never before its first, beyond its last or across a NaN or Inf.
- *A metric as x axis is joined on the step*, within each run: a point of y stands at the
  value that x had last, at the same step or before.  Points before the first x have no place.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray

#: Words in the name of a metric that tell which way is better; the last one found decides.
LOWER = frozenset((
    "loss", "losses", "error", "err", "perplexity", "ppl", "mse", "mae", "rmse", "nll", "bpb", "wer", "cer", "fid", "kl",
    "divergence", "regret", "cost", "latency", "time", "seconds", "duration",
))
HIGHER = frozenset((
    "accuracy", "acc", "f1", "precision", "recall", "auc", "auroc", "auprc", "bleu", "rouge", "meteor", "score", "reward",
    "return", "iou", "dice", "map", "ndcg", "mrr", "psnr", "ssim", "r2", "throughput", "hits", "success", "winrate",
))


@dataclass(frozen=True, slots=True)
class Curve:
    """One metric of one run over ``at``, which rises: its steps, or the values of another metric."""

    at: Array
    values: Array


@dataclass(frozen=True, slots=True)
class Band:
    """A group of curves at common places: mean, lower and upper edge, and how many curves reach there."""

    at: Array
    mean: Array
    low: Array
    high: Array
    count: Array


@dataclass(frozen=True, slots=True)
class Cell:
    """What one run has in a row of the table of differences."""

    value: Any = None
    missing: bool = True
    best: bool = False

    @property
    def is_number(self) -> bool:
        """Whether it is written like a measured number: whole ones stay as they are."""
        return isinstance(self.value, float)


@dataclass(frozen=True, slots=True)
class Row:
    """A parameter, or a figure of a metric, of all runs."""

    name: str
    cells: tuple[Cell, ...]
    differs: bool
    figure: str = ""

    @property
    def delta(self) -> float | None:
        """Of two runs: the second's number less the first's, whole where both are."""
        first, second = self.cells[0].value, self.cells[-1].value
        if len(self.cells) != 2 or not (is_number(first) and is_number(second)):
            return None
        whole = isinstance(first, int) and isinstance(second, int)
        return second - first if whole else float(second) - float(first)

    @property
    def is_whole(self) -> bool:
        """Whether the delta is one of whole numbers."""
        return isinstance(self.delta, int)

    @property
    def percent(self) -> float | None:
        """The delta in percent of the first run's number."""
        delta, first = self.delta, self.cells[0].value
        return delta / abs(first) * 100 if delta is not None and first and math.isfinite(delta) else None


# curves


def curve(lines: Iterable[tuple[Array, Array]]) -> Curve:
    """The points of these lines in order, one value a place: the mean where there are several."""
    parts = list(lines)
    if not parts:
        return Curve(np.zeros(0), np.zeros(0))
    at = np.concatenate([places for places, _ in parts]).astype(np.float64)
    values = np.concatenate([values for _, values in parts]).astype(np.float64)
    order = np.argsort(at, kind="stable")
    at, values = at[order], values[order]
    starts = np.flatnonzero(np.diff(at, prepend=np.nan) != 0)
    if len(starts) == len(at):
        return Curve(at, values)
    sizes = np.diff(np.append(starts, len(at)))
    with np.errstate(invalid="ignore"):
        means = np.add.reduceat(values / np.repeat(sizes, sizes), starts)
    return Curve(at[starts], means)


def joined(x: Curve, y: Curve) -> tuple[Array, Array]:
    """The points of ``y`` at the value that ``x`` had last at their step, in the order of the steps."""
    place = np.searchsorted(x.at, y.at, side="right") - 1
    known = place >= 0
    where, values = x.values[place[known]], y.values[known]
    finite = np.isfinite(where)
    return where[finite], values[finite]


def is_path(at: Array) -> bool:
    """Whether these x values only rise or only fall: then a line through them has a meaning, else only the points."""
    steps = np.diff(at)
    return bool((steps >= 0).all() or (steps <= 0).all())


def grid(curves: Sequence[Curve], points: int, low: float = -math.inf, high: float = math.inf) -> Array:
    """Where a group is averaged: at all places of its own in a range, or evenly spaced where these are too many."""
    own = [one.at for one in curves if len(one.at)]
    if not own:
        return np.zeros(0)
    places = np.unique(np.concatenate(own))
    first, last = max(places[0], low), min(places[-1], high)
    if first > last:
        return np.zeros(0)
    # the ends too, which may lie between two places: the line then goes to the edges of what is shown
    places = np.union1d(places[(places >= first) & (places <= last)], [first, last])
    if len(places) <= points:
        return places
    return np.linspace(first, last, points)


def read(one: Curve, at: Array) -> Array:
    """A curve's values at other places; NaN where it says nothing."""
    if not len(one.at):
        return np.full(len(at), np.nan)
    values = np.where(np.isfinite(one.values), one.values, np.nan)
    with np.errstate(all="ignore"):
        found = np.interp(at, one.at, values, left=np.nan, right=np.nan)
    return np.where(np.isfinite(found), found, np.nan)


def band(curves: Sequence[Curve], at: Array, spread: str = "range") -> Band:
    """Mean and edges of a group of curves: ``range`` is minimum to maximum, ``std`` one standard deviation.

    The deviation is that of a sample (n - 1); a single curve has none.  Places that no curve
    reaches are left out.
    """
    table = np.vstack([read(one, at) for one in curves]) if curves else np.zeros((0, len(at)))
    known = ~np.isnan(table)
    count = known.sum(axis=0)
    kept = count > 0
    table, known, at, count = table[:, kept], known[:, kept], at[kept], count[kept]
    low = np.where(known, table, np.inf).min(axis=0, initial=np.inf)
    high = np.where(known, table, -np.inf).max(axis=0, initial=-np.inf)
    # each divided first: a sum of great values would be Inf
    mean = np.clip(np.where(known, table / np.maximum(count, 1), 0).sum(axis=0), low, high)
    if spread == "std":
        with np.errstate(over="ignore"):
            square = np.where(known, (table - mean) ** 2, 0).sum(axis=0) / np.maximum(count - 1, 1)
        low, high = mean - np.sqrt(square), mean + np.sqrt(square)
    return Band(at, mean, low, high, count)


# differences


def flat(params: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters by dotted name; lists stay whole."""
    found: dict[str, Any] = {}
    # a stack, no recursion: what lies beside the logs may be nested deeper than Python calls
    waiting: list[tuple[str, Any]] = [(str(name), value) for name, value in params.items()][::-1]
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, Mapping) and value:
            waiting.extend([(f"{name}.{key}", inner) for key, inner in value.items()][::-1])
        else:
            found[name] = value
    return found


def is_number(value: Any) -> bool:
    """Whether this is a number that can be compared as one; true and false are not."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return not math.isnan(float(value))
    except OverflowError:
        return False


def alike(first: Any, second: Any) -> bool:
    """Whether two values are the same: 1 and 1.0 are, 1 and true are not, NaN and NaN are."""
    if is_number(first) and is_number(second):
        return bool(first == second)
    return repr(first) == repr(second)


def parameter_rows(runs: Sequence[Mapping[str, Any]]) -> list[Row]:
    """A row a parameter that any of the runs has; the ones that differ come first."""
    flats = [flat(params) for params in runs]
    names = sorted({name for params in flats for name in params}, key=lambda name: (name.casefold(), name))
    rows = [_row(name, [Cell(params[name], False) if name in params else Cell() for params in flats]) for name in names]
    return sorted(rows, key=lambda row: not row.differs)


def _row(name: str, cells: Sequence[Cell], figure: str = "") -> Row:
    first = cells[0]
    differs = any(cell.missing != first.missing or not alike(cell.value, first.value) for cell in cells)
    return Row(name, tuple(cells), differs, figure)


def metric_row(name: str, figure: str, values: Sequence[float | None]) -> Row:
    """A row of one figure of a metric (its last, min or max), the best of at least two marked."""
    best = best_of(values, direction(name))
    cells = [Cell(value, value is None, best is not None and value == best) for value in values]
    return _row(name, cells, figure)


def best_of(values: Iterable[float | None], way: int) -> float | None:
    """The best of some values: the lowest where ``way`` is -1, the highest where it is 1.

    None where nobody knows which way is better, or where there is nothing to compare.
    """
    known = [value for value in values if value is not None and math.isfinite(value)]
    if not way or len(known) < 2 or min(known) == max(known):
        return None
    return min(known) if way < 0 else max(known)


def direction(name: str) -> int:
    """Which way a metric is better, by the words of its name: -1 lower, 1 higher, 0 unknown.

    The last telling word decides: ``val/accuracy_loss`` is a loss.  Rates per second are
    better when higher.
    """
    words = re.findall(r"[a-z]+\d*", re.sub(r"([a-z\d])([A-Z])", r"\1 \2", name).lower())
    if len(words) >= 2 and words[-2] == "per" and words[-1] in {"s", "sec", "second"}:
        return 1
    for word in reversed(words):
        if word in LOWER:
            return -1
        if word in HIGHER:
            return 1
    return 0
