"""From packed chunks to the lines of a figure: decode, put attempts in order, thin out.

What is drawn follows three rules (engine.md, "Reading event files"); nothing is renumbered
and nothing is dropped:

- files of a run that overlap in wall time are parallel writers: lines side by side;
- a file that begins after another's end is a resumed session, and joins it;
- where a later part begins below the step that an earlier one had reached, the earlier
  one's points from there on are a superseded attempt: drawn, but faint.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from django.db.models import Case, F, FloatField, IntegerField, Max, Min, OuterRef, QuerySet, Subquery, Value, When
from django.db.models.functions import Coalesce

from runs.chunks import unpack
from runs.models import LogFile, Segment, Series, SeriesChunk, SeriesTail, Tag

#: Points that one page decodes at most (measured: 2 M in 0.12 s); longer series are drawn
#: from the minima and maxima that each chunk carries beside its bytes.
POINTS_PER_PAGE = 2_000_000

Array = np.ndarray


@dataclass(frozen=True, slots=True)
class Piece:
    """Points of one series in one part of one file, in file order."""

    file: int
    part: int
    steps: Array
    values: Array


@dataclass(frozen=True, slots=True)
class Span:
    """When a file was written, and by whom: decides what is joined and what is parallel."""

    file: int
    label: str
    kin: str
    first_wall: float
    last_wall: float


@dataclass(frozen=True, slots=True)
class Line:
    """Points drawn as one line: ``writer`` numbers the parallel ones, ``old`` is superseded."""

    writer: int
    steps: Array
    values: Array
    old: bool = False


@dataclass(frozen=True, slots=True)
class Restart:
    """Where a later attempt takes over."""

    step: int
    why: str


@dataclass(frozen=True, slots=True)
class Drawing:
    """A series ready to be drawn."""

    lines: list[Line] = field(default_factory=list)
    restarts: list[Restart] = field(default_factory=list)
    writers: list[str] = field(default_factory=list)
    coarse: bool = False


def drawings(series: Sequence[Series], points: int = POINTS_PER_PAGE) -> dict[int, Drawing]:
    """The drawing of each of these series, in at most six queries whatever their number."""
    exact, coarse = _within_budget(series, points)
    pieces = _exact_pieces(exact)
    pieces.update(_coarse_pieces(coarse))
    spans = spans_of({one.run_id for one in series})
    rough = set(coarse)
    return {one.pk: arrange(pieces.get(one.pk, []), spans, coarse=one.pk in rough) for one in series}


def _within_budget(series: Iterable[Series], points: int) -> tuple[list[int], list[int]]:
    """Which series are decoded in full: the short ones first, as many as the budget holds."""
    exact: list[int] = []
    coarse: list[int] = []
    left = points
    for one in sorted(series, key=lambda one: one.count):
        left -= one.count
        (exact if left >= 0 else coarse).append(one.pk)
    return exact, coarse


def _exact_pieces(ids: Sequence[int]) -> dict[int, list[Piece]]:
    """All points of these series, of the generations that pages show."""
    if not ids:
        return {}
    parts: dict[tuple[int, int, int], list[tuple[Array, Array]]] = {}
    for model in (SeriesChunk, SeriesTail):
        rows = (
            model._default_manager.filter(series__in=ids, generation=F("log_file__generation"))
            .order_by("series_id", "log_file_id", "part", "start")
            .values_list("series_id", "log_file_id", "part", "data")
        )
        for one, file, part, data in rows:
            steps, _, values = unpack(bytes(data))
            parts.setdefault((one, file, part), []).append((steps, values.astype(np.float64)))
    return _joined(parts)


def _coarse_pieces(ids: Sequence[int]) -> dict[int, list[Piece]]:
    """Two points a chunk, its minimum and maximum: what long series are drawn from."""
    if not ids:
        return {}
    parts: dict[tuple[int, int, int], list[tuple[Array, Array]]] = {}
    for model in (SeriesChunk, SeriesTail):
        rows = (
            model._default_manager.filter(series__in=ids, generation=F("log_file__generation"))
            .order_by("series_id", "log_file_id", "part", "start")
            .values_list("series_id", "log_file_id", "part", "first_step", "last_step", "minimum", "maximum")
        )
        for one, file, part, first, last, low, high in rows:
            ends = np.array([np.nan if low is None else low, np.nan if high is None else high])
            parts.setdefault((one, file, part), []).append((np.array([first, last]), ends))
    return _joined(parts)


def _joined(parts: Mapping[tuple[int, int, int], list[tuple[Array, Array]]]) -> dict[int, list[Piece]]:
    pieces: dict[int, list[Piece]] = defaultdict(list)
    for (one, file, part), blocks in parts.items():
        steps = np.concatenate([steps for steps, _ in blocks])
        values = np.concatenate([values for _, values in blocks])
        pieces[one].append(Piece(file, part, steps, values))
    return pieces


def spans_of(runs: Collection[int]) -> dict[int, Span]:
    """First and last wall time of each file of these runs, over the parts that pages show."""
    walls = {
        file: (first, last)
        for file, first, last in Segment.objects.filter(run__in=runs, generation=F("log_file__generation"))
        .order_by()
        .values_list("log_file")
        .annotate(Min("first_wall"), Max("last_wall"))
    }
    spans = {}
    for file in LogFile.objects.filter(run__in=runs).order_by().only("path", "first_wall", "last_wall"):
        first, last = walls.get(file.pk, (file.first_wall, file.last_wall))
        spans[file.pk] = span(file.pk, file.path_text, first, last)
    return spans


def span(file: int, path: str, first: float | None, last: float | None) -> Span:
    """A file's span; one whose clock tells nothing comes first and overlaps nobody."""
    folder, _, name = path.rpartition("/")
    label = re.sub(r"^events\.out\.tfevents\.\d+\.", "", name)
    host = label.split(".", 1)[0] if label != name else name
    first = -math.inf if first is None or math.isnan(first) else first
    last = first if last is None or math.isnan(last) else last
    return Span(file, label, f"{folder}/{host}", first, last)


def arrange(pieces: Sequence[Piece], spans: Mapping[int, Span], *, coarse: bool = False) -> Drawing:
    """Put the pieces of one series in order: parallel writers apart, attempts one after another."""
    # a file that came between the queries has no span yet: the next look shows it
    pieces = [piece for piece in pieces if piece.file in spans]
    lanes = writers({piece.file for piece in pieces}, spans)
    drawing = Drawing(writers=[spans[lane[0]].label for lane in lanes], coarse=coarse)
    for number, lane in enumerate(lanes):
        place = {file: position for position, file in enumerate(lane)}
        mine = sorted((p for p in pieces if p.file in place), key=lambda p: (place[p.file], p.part))
        drawing.lines.extend(_attempts(number, mine))
        for earlier, later in zip(mine, mine[1:], strict=False):
            why = "steps went back" if later.steps[0] < earlier.steps.max() else "resumed"
            drawing.restarts.append(Restart(int(later.steps[0]), why))
    return drawing


def writers(files: Iterable[int], spans: Mapping[int, Span]) -> list[list[int]]:
    """The files of each parallel writer, in order of time.

    A file continues the writer that had ended before it began, of several the one in the
    same folder on the same host, else the one that ended last.
    """
    lanes: list[list[Span]] = []
    for new in sorted((spans[file] for file in files), key=lambda s: (s.first_wall, s.file)):
        ended = [lane for lane in lanes if lane[-1].last_wall <= new.first_wall]
        if ended:
            max(ended, key=lambda lane: (lane[-1].kin == new.kin, lane[-1].last_wall)).append(new)
        else:
            lanes.append([new])
    return [[one.file for one in lane] for lane in lanes]


def _attempts(writer: int, pieces: Sequence[Piece]) -> list[Line]:
    """The lines of one writer, superseded ones first so that they lie beneath."""
    old: list[Line] = []
    new: list[Line] = []
    cut: int | None = None
    for piece in reversed(pieces):
        gone = np.zeros(len(piece.steps), bool)
        if cut is not None and cut < piece.steps.max():
            gone = piece.steps >= cut
        if gone.any():
            old.append(Line(writer, piece.steps[gone], piece.values[gone], old=True))
        if not gone.all():
            new.append(Line(writer, piece.steps[~gone], piece.values[~gone]))
        first = int(piece.steps[0])
        cut = first if cut is None else min(cut, first)
    return old[::-1] + new[::-1]


def thin(steps: Array, values: Array, low: float, high: float, buckets: int) -> list[tuple[Array, Array]]:
    """Strokes of a line between the steps ``low`` and ``high``: at most two points a bucket.

    Where there are more points, each bucket keeps its minimum and maximum, so no spike is
    lost.  A stroke ends where values are missing: at NaN or Inf, and where the distance to
    the next step is more than ten times that of both its neighbours.
    """
    order = np.argsort(steps, kind="stable")
    x, y = steps[order].astype(np.float64), values[order]
    stroke = np.cumsum(_breaks(x, y))
    finite = np.isfinite(y)
    x, y, stroke = x[finite], y[finite], stroke[finite]
    if not len(x):
        return []
    if len(x) > 2 * buckets:
        x, y, stroke = _extremes(x, y, stroke, low, high, buckets)
    ends = np.flatnonzero(np.diff(stroke)) + 1
    return list(zip(np.split(x, ends), np.split(y, ends), strict=True))


def _breaks(x: Array, y: Array) -> Array:
    """Where a new stroke begins."""
    breaks = np.zeros(len(x), bool)
    breaks[1:] = ~np.isfinite(y[:-1])
    gaps = np.diff(x)
    if len(gaps) >= 3:
        before = np.concatenate(([np.inf], gaps[:-1]))
        after = np.concatenate((gaps[1:], [np.inf]))
        near = np.where(np.isinf(before), after, np.where(np.isinf(after), before, np.maximum(before, after)))
        breaks[1:] |= (gaps > 10 * near) & (near > 0)
    return breaks


def _extremes(
    x: Array, y: Array, stroke: Array, low: float, high: float, buckets: int
) -> tuple[Array, Array, Array]:
    """Minimum and maximum of each bucket, in the order in which the line passes them."""
    bucket = np.minimum((x - low) / (high - low) * buckets, buckets - 1).astype(np.int64)
    starts = np.flatnonzero(np.diff(bucket + stroke * buckets, prepend=-1))
    ends = np.append(starts[1:], len(x)) - 1
    least, most = np.minimum.reduceat(y, starts), np.maximum.reduceat(y, starts)
    rising = y[ends] >= y[starts]
    out_y = np.column_stack((np.where(rising, least, most), np.where(rising, most, least))).ravel()
    out_x = np.column_stack((x[starts], x[ends])).ravel()
    return out_x, out_y, np.repeat(stroke[starts], 2)


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


#: What a run is first judged by, best first: the column "metric" of the run list.
MAIN_TAGS = (
    "loss",
    "train/loss",
    "train_loss",
    "loss/train",
    "Loss/train",
    "training/loss",
    "train/epoch_loss",
    "epoch_loss",
    "eval/loss",
    "eval_loss",
    "loss/eval",
    "val/loss",
    "val_loss",
    "loss/val",
    "Loss/val",
    "validation/epoch_loss",
)


def main_tags() -> list[int]:
    """The ids of the main tags that exist, best first: with ids each run is one look into one index."""
    ids = dict(Tag.objects.filter(name__in=MAIN_TAGS).values_list("name", "pk"))
    return [ids[name] for name in MAIN_TAGS if name in ids]


def main_series() -> QuerySet[Series]:
    """The series a run list shows, best tag first."""
    best = main_tags()
    ranks = [When(tag=pk, then=Value(rank)) for rank, pk in enumerate(best)]
    rank = Case(*ranks, default=Value(len(best)), output_field=IntegerField())
    return Series.objects.filter(tag__in=best).annotate(rank=rank).order_by("rank")


def main_value() -> Coalesce:
    """The last value of a run's main metric, to sort by: the first of its tags that the run has."""
    series = Series.objects.filter(run=OuterRef("pk")).order_by()
    values = [Subquery(series.filter(tag=pk).values("last")) for pk in main_tags()]
    nothing = Value(None, output_field=FloatField())
    return Coalesce(*values, nothing, nothing)
