"""Thinning: fewer points that look the same.  Pure: columns in, places and means out.

A line is cut into buckets of equal width.  Of each bucket its lowest and its highest point
stay, as they were written, so that no spike is lost; the mean of the bucket stands beside
them, for smoothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

Array = np.ndarray
#: What is no number, as marks name it.
KINDS = ("nan", "inf", "-inf")


@dataclass(frozen=True, slots=True)
class Marks:
    """Where values are no finite numbers: the first place of each kind in a bucket, and how many it stands for."""

    kinds: Array
    rows: Array
    counts: Array


@dataclass(frozen=True, slots=True)
class Thinned:
    """What remains of a line: ``rows`` are places in its columns, ``breaks`` places in ``rows`` where a stroke begins.

    ``means`` is beside ``rows``, or None where every point remains.
    """

    rows: Array
    breaks: Array
    marks: Marks
    means: Array | None = None


def thinned(x: Array, y: Array, low: float, high: float, buckets: int) -> Thinned:
    """At most two points a bucket of a line whose ``x`` rises, and its first and last point.

    A line of fewer points remains whole, what is not finite included.  A stroke ends before a
    gap (``_breaks``); of what is thinned only where the gap shows between two buckets.
    """
    finite = np.isfinite(y)
    breaks = _breaks(x, y)
    if len(x) <= 2 * buckets:
        odd = np.flatnonzero(~finite)
        return Thinned(np.arange(len(x)), np.flatnonzero(breaks), Marks(_kinds(y[odd]), odd, np.ones(len(odd), np.int64)))
    edges = low + (high - low) * (np.arange(1, buckets) / buckets)
    marks = _marked(x, y, np.flatnonzero(~finite), edges)
    kept = np.flatnonzero(finite)
    if not len(kept):
        return Thinned(kept, kept, marks, np.zeros(0))
    rows, means, ends = _extremes(x[kept], y[kept], np.cumsum(breaks)[kept], edges)
    return Thinned(kept[rows], ends, marks, means)


def _breaks(x: Array, y: Array) -> Array:
    """Where a new stroke begins: after what is not finite, and where ten times its neighbours' distance is skipped."""
    breaks = np.zeros(len(x), bool)
    breaks[1:] = ~np.isfinite(y[:-1])
    gaps = np.diff(x)
    if len(gaps) >= 3:
        before = np.concatenate(([np.inf], gaps[:-1]))
        after = np.concatenate((gaps[1:], [np.inf]))
        near = np.where(np.isinf(before), after, np.where(np.isinf(after), before, np.maximum(before, after)))
        breaks[1:] |= (gaps > 10 * near) & (near > 0)
    return breaks


def _extremes(x: Array, y: Array, stroke: Array, edges: Array) -> tuple[Array, Array, Array]:
    """Places of the lowest and highest points of each bucket, their bucket's means, and where strokes begin."""
    starts = np.unique(np.concatenate(([0], np.searchsorted(x, edges))))
    starts = starts[starts < len(x)]
    sizes = np.diff(np.append(starts, len(x)))
    owner = np.repeat(np.arange(len(starts)), sizes)
    ends = [0, len(x) - 1]
    for choose in (np.minimum, np.maximum):
        same = np.flatnonzero(y == choose.reduceat(y, starts)[owner])
        ends.extend(same[np.searchsorted(same, starts)])
    rows = np.unique(np.array(ends))
    of = owner[rows]
    apart = np.concatenate(([False], stroke[starts[1:]] != stroke[starts[1:] - 1]))
    begins = np.flatnonzero((np.diff(of, prepend=0) > 0) & apart[of])
    # by its size first: the sum of a bucket may be beyond what a float holds
    means = np.add.reduceat(y / sizes[owner], starts)
    return rows, means[of], begins


def _marked(x: Array, y: Array, odd: Array, edges: Array) -> Marks:
    """One mark a bucket and kind."""
    kinds = _kinds(y[odd])
    keys = np.searchsorted(edges, x[odd], side="right") * len(KINDS) + kinds
    _, first, counts = np.unique(keys, return_index=True, return_counts=True)
    return Marks(kinds[first], odd[first], counts)


def _kinds(y: Array) -> Array:
    """The number of each value's kind in KINDS."""
    return np.where(np.isnan(y), 0, np.where(y > 0, 1, 2))


def thin(steps: Array, values: Array, low: float, high: float, buckets: int) -> list[tuple[Array, Array]]:
    """The strokes of a line, thinned, without what is not finite."""
    order = np.argsort(steps, kind="stable")
    x, y = steps[order].astype(np.float64), values[order]
    left = thinned(x, y, low, high, buckets)
    x, y = x[left.rows], y[left.rows]
    stroke = np.zeros(len(x), np.int64)
    stroke[left.breaks] = 1
    stroke, finite = np.cumsum(stroke), np.isfinite(y)
    x, y, stroke = x[finite], y[finite], stroke[finite]
    if not len(x):
        return []
    ends = np.flatnonzero(np.diff(stroke)) + 1
    return list(zip(np.split(x, ends), np.split(y, ends), strict=True))


def nice_ticks(low: float, high: float, about: int) -> list[float]:
    """Round numbers between two bounds, about that many."""
    width = high - low
    if not math.isfinite(width) or width <= 0:
        return []
    raw = width / about
    try:
        power = 10.0 ** math.floor(math.log10(raw))
    except (OverflowError, ValueError):
        return []
    unit = next((power * m for m in (1, 2, 2.5, 5, 10) if power * m >= raw * 0.999), power * 10)
    if not unit or not math.isfinite(low / unit):
        return []
    first = math.ceil(low / unit - 1e-9)
    return [n * unit for n in range(first, first + about * 3) if n * unit <= high + unit * 1e-9]
