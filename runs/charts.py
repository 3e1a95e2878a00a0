"""From pieces to the lines of a chart: put attempts in order, parallel writers apart.

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
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from django.db.models import F

from runs.models import LogFile, Segment, Series, Tag
from runs.pieces import POINTS_PER_PAGE, Array, Piece, Window, found


@dataclass(frozen=True, slots=True)
class Span:
    """When a file was written, and by whom: decides what is joined and what is parallel."""

    file: int
    label: str
    kin: str
    first_wall: float
    last_wall: float
    run: int = 0
    parts: Mapping[int, float | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Line:
    """Points drawn as one line: ``writer`` numbers the parallel ones, ``old`` is superseded."""

    writer: int
    steps: Array
    walls: Array
    values: Array
    old: bool = False


@dataclass(frozen=True, slots=True)
class Restart:
    """Where a later attempt takes over; ``wall`` is when, where its clock tells."""

    writer: int
    step: int
    wall: float | None
    why: str


@dataclass(frozen=True, slots=True)
class Drawing:
    """A series ready to be drawn."""

    lines: list[Line] = field(default_factory=list)
    restarts: list[Restart] = field(default_factory=list)
    writers: list[str] = field(default_factory=list)
    coarse: bool = False


class Main(NamedTuple):
    """What a list tells of a run's main metric: a list has fifty of them, and objects of the model would take longer."""

    tag: str
    series: int
    points: int
    last_wall: float | None
    last: float | None


def drawings(series: Sequence[Series], points: int = POINTS_PER_PAGE) -> dict[int, Drawing]:
    """The drawing of each of these series, in at most five queries whatever their number."""
    spans = spans_of({one.run_id for one in series})
    return {one.pk: drawing for one, drawing in drawn(series, spans, points=points)}


def drawn(
    series: Sequence[Series],
    spans: Mapping[int, Span],
    windows: Mapping[int, Window] | None = None,
    points: int = POINTS_PER_PAGE,
) -> Iterator[tuple[Series, Drawing]]:
    """The drawing of one series after the other, of its run's window only: memory holds one at a time."""
    for one in found(series, windows, points):
        yield one.series, arrange(one.pieces, spans, coarse=one.coarse)


def spans_of(runs: Collection[int]) -> dict[int, Span]:
    """First and last wall time of each file of these runs, over the parts that pages show."""
    parts: dict[int, dict[int, tuple[float | None, float | None]]] = defaultdict(dict)
    for file, part, first, last in (
        Segment.objects.filter(run__in=runs, generation=F("log_file__generation"))
        .order_by()
        .values_list("log_file", "part", "first_wall", "last_wall")
    ):
        parts[file][part] = (first, last)
    spans = {}
    for one in LogFile.objects.filter(run__in=runs).order_by().only("run", "path", "first_wall", "last_wall"):
        walls = list(parts[one.pk].values()) or [(one.first_wall, one.last_wall)]
        begun = min((first for first, _ in walls if first is not None), default=None)
        ended = max((last for _, last in walls if last is not None), default=None)
        begins = {part: first for part, (first, _) in parts[one.pk].items()}
        spans[one.pk] = replace(span(one.pk, one.path_text, begun, ended), run=one.run_id, parts=begins)
    return spans


def span(file: int, path: str, first: float | None, last: float | None) -> Span:
    """A file's span; one whose clock tells nothing comes first and overlaps nobody."""
    folder, _, name = path.rpartition("/")
    label = re.sub(r"^events\.out\.tfevents\.\d+\.", "", name)
    host = label.split(".", 1)[0] if label != name else name
    first = -math.inf if first is None or math.isnan(first) else first
    last = first if last is None or math.isnan(last) else last
    return Span(file, label, f"{folder}/{host}", first, last)


def origins(spans: Mapping[int, Span]) -> dict[int, float]:
    """When each run's first point was written, by its clock."""
    begun: dict[int, float] = {}
    for one in spans.values():
        if math.isfinite(one.first_wall):
            begun[one.run] = min(one.first_wall, begun.get(one.run, math.inf))
    return begun


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
            why = "steps went back" if later.first < earlier.top else "resumed"
            drawing.restarts.append(Restart(number, later.first, spans[later.file].parts.get(later.part), why))
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
        if cut is None or cut >= piece.top:
            new.append(_line(writer, piece))
        else:
            gone = piece.steps >= cut
            old.append(_line(writer, piece, gone, old=True))
            new.append(_line(writer, piece, ~gone))
        cut = piece.first if cut is None else min(cut, piece.first)
    lines = old[::-1] + new[::-1]
    return [line for line in lines if len(line.steps)]


def _line(writer: int, piece: Piece, some: Array | None = None, *, old: bool = False) -> Line:
    if some is None:
        return Line(writer, piece.steps, piece.walls, piece.values, old)
    return Line(writer, piece.steps[some], piece.walls[some], piece.values[some], old)


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


def main_series(runs: Collection[int]) -> dict[int, Main]:
    """The series that a run list shows of each of these runs: that of the best tag that it has."""
    names = dict(Tag.objects.filter(name__in=MAIN_TAGS).values_list("pk", "name"))
    rows = Series.objects.filter(run__in=runs, tag__in=names.keys()).order_by()
    best: dict[int, Main] = {}
    for run, tag, pk, points, wall, last in rows.values_list("run_id", "tag_id", "pk", "count", "last_wall", "last"):
        one = Main(names[tag], pk, points, wall, last)
        if run not in best or MAIN_TAGS.index(one.tag) < MAIN_TAGS.index(best[run].tag):
            best[run] = one
    return best
