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
    means: Array | None
    marks: Marks


def thinned(x: Array, y: Array, low: float, high: float, buckets: int) -> Thinned:
    """At most two points a bucket of a line whose ``x`` rises, and its first and last point.

    A line of fewer points remains whole, what is not finite included.  A stroke ends before a
    gap (``_breaks``); of what is thinned only where the gap shows between two buckets.
    """
    odd = np.flatnonzero(~np.isfinite(y))
    breaks = _breaks(x, odd)
    if len(x) <= 2 * buckets:
        return Thinned(np.arange(len(x)), breaks, None, Marks(_kinds(y[odd]), odd, np.ones(len(odd), np.int64)))
    edges = low + (high - low) * (np.arange(1, buckets) / buckets)
    marks = _marked(x, y, odd, edges)
    if not len(odd):
        return Thinned(*_extremes(x, y, breaks, edges), marks)
    kept = np.delete(np.arange(len(x)), odd)
    if not len(kept):
        return Thinned(kept, kept, kept.astype(np.float64), marks)
    rows, begins, means = _extremes(x[kept], y[kept], np.searchsorted(kept, breaks), edges)
    return Thinned(kept[rows], begins, means, marks)


def _breaks(x: Array, odd: Array) -> Array:
    """Where a new stroke begins: after what is not finite, and where ten times its neighbours' distance is skipped."""
    after_odd = odd[odd < len(x) - 1] + 1
    gaps = np.diff(x)
    if len(gaps) < 3:
        return after_odd
    # most lines have no gap at all: only what is ten times the smallest distance is looked at
    smallest = gaps.min()
    at = np.flatnonzero(gaps > 10 * (smallest if smallest > 0 else np.min(gaps, where=gaps > 0, initial=np.inf)))
    before = gaps[np.where(at > 0, at - 1, 1)]
    after = gaps[np.where(at < len(gaps) - 1, at + 1, len(gaps) - 2)]
    near = np.maximum(before, after)
    wide = at[(gaps[at] > 10 * near) & (near > 0)] + 1
    return np.union1d(after_odd, wide) if len(wide) else after_odd


def _extremes(x: Array, y: Array, breaks: Array, edges: Array) -> tuple[Array, Array, Array]:
    """Places of the lowest and highest points of each bucket, where strokes begin among them, their buckets' means."""
    starts = _distinct([np.zeros(1, np.int64), np.searchsorted(x, edges)])
    starts = starts[starts < len(x)]
    sizes = np.diff(np.append(starts, len(x)))
    chosen = [np.array([0, len(x) - 1])]
    for choose in (np.minimum, np.maximum):
        same = np.flatnonzero(y == np.repeat(choose.reduceat(y, starts), sizes))
        chosen.append(same[np.searchsorted(same, starts)])
    rows = _distinct(chosen)
    bucket = np.searchsorted(starts, rows, side="right") - 1
    apart = np.isin(starts, breaks)
    begins = np.flatnonzero((np.diff(bucket, prepend=0) > 0) & apart[bucket])
    return rows, begins, _means(y, starts, sizes)[bucket]


def _distinct(places: list[Array]) -> Array:
    """Each place once, in order: ``np.unique`` takes ten times as long for so few."""
    some = np.sort(np.concatenate(places))
    return some[np.diff(some, prepend=-1) > 0]


def _means(y: Array, starts: Array, sizes: Array) -> Array:
    with np.errstate(over="ignore", invalid="ignore"):
        means = np.add.reduceat(y, starts) / sizes
    if not np.isfinite(means).all():  # the sum is beyond what a float holds
        means = np.add.reduceat(y / np.repeat(sizes, sizes), starts)
    return means


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
