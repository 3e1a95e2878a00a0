"""A file's points beside the stored ones: positions, steps, wall times and values, bit by bit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from runs.reconcile import summary
from runs.reconcile.outcome import same, shown
from runs.reconcile.reference import Column, Reference
from runs.reconcile.stored import Columns, Row, StoredFile
from runs.reconcile.summary import Totals
from runs.series import tag_name

NOTHING = "nothing"
FACTS = ("count", "first step", "last step", "last", "last wall time", "minimum", "maximum", "nonfinite")

Tell = Callable[..., None]


@dataclass(slots=True)
class PointComparison:
    """Compares the points of one file; ``totals`` of the run's series grow by the file's own."""

    stored: StoredFile
    totals: dict[str, Totals]
    tell: Tell
    counted: dict[tuple[str, int], int] = field(default_factory=dict)

    def compare(self, found: Reference) -> None:
        """What the reference holds now."""
        for (tag, part), column in found.columns.items():
            if len(column.steps):
                self._column(tag_name(self.stored.file.prefix, tag), part, column)

    def finish(self) -> int:
        """Rows behind, between and beside the file's points; returns how many points there were."""
        for (tag, part), rows in self.stored.rows.items():
            expected = 0
            for row in rows:
                if row.start != expected:
                    self.tell("a chunk's place", shown(row.start), shown(expected), tag=tag, part=part)
                expected = row.end
            held = self.counted.get((tag, part), 0)
            if expected > held:
                self.tell("points that the file does not hold", f"{expected - held:,}", NOTHING,
                          tag=tag, part=part, position=held)
        return sum(self.counted.values())

    def take_stored(self) -> None:
        """Where there is no file to compare with, its series' totals follow from what is stored."""
        for (tag, part), rows in self.stored.rows.items():
            try:
                for row, columns in self.stored.points(tag, part, 0, rows[-1].end):
                    self._check_facts(tag, part, row, columns)
                    self._totals(tag).add(self.stored.file.pk, *columns)
            except ValueError as broken:
                self.tell("a chunk", str(broken), "not known", tag=tag, part=part)

    def _totals(self, tag: str) -> Totals:
        return self.totals.setdefault(tag, Totals())

    def _column(self, tag: str, part: int, column: Column) -> None:
        steps, walls, runs = column.arrays()
        begin, at, stop = column.start, column.start, column.start + len(steps)
        self.counted[tag, part] = stop
        place = 0
        for run in runs:
            piece = slice(place, place := place + len(run))
            self._totals(tag).add(self.stored.file.pk, steps[piece], walls[piece], run)
        try:
            for row, columns in self.stored.points(tag, part, begin, stop):
                if begin <= row.start:
                    self._check_facts(tag, part, row, columns)
                low, high = max(at, row.start), min(stop, row.start + len(columns[0]))
                if low < high:
                    ours = [column[low - row.start : high - row.start] for column in columns]
                    inner = slice(low - begin, high - begin)
                    self._rows(tag, part, low, ours, steps[inner], walls[inner], _cut(runs, inner))
                at = max(at, high)
        except ValueError as broken:
            self.tell("a chunk", str(broken), "points", tag=tag, part=part, position=at)
            return
        if at < stop:
            self.tell("points that are not stored", NOTHING, shown(steps[at - begin]), tag=tag, part=part,
                      position=at, more=stop - at - 1)

    def _rows(self, tag: str, part: int, low: int, ours: list[np.ndarray], steps: np.ndarray, walls: np.ndarray,
              values: list[np.ndarray]) -> None:
        """Equally many points of both sides, the first at position ``low``."""
        pairs = [("step", low, ours[0], steps), ("wall time", low, ours[1], walls)]
        at = 0
        for run in values:
            pairs.append(("value", low + at, ours[2][at : at + len(run)], run))
            at += len(run)
        for what, first, mine, theirs in pairs:
            if mine.dtype != theirs.dtype:
                self.tell("type of the values", mine.dtype.str, theirs.dtype.str, tag=tag, part=part, position=first,
                          more=len(theirs) - 1)
                continue
            wrong = np.flatnonzero(_bits(mine) != _bits(theirs))
            if len(wrong):
                place = int(wrong[0])
                self.tell(what, shown(mine[place]), shown(theirs[place]), tag=tag, part=part, position=first + place,
                          more=len(wrong) - 1)

    def _check_facts(self, tag: str, part: int, row: Row, columns: Columns) -> None:
        """A chunk's own summary, which lists and charts use without decoding it."""
        totals = summary.of(*columns)
        wall, step, last = totals.newest()[0]
        expected: tuple[Any, ...] = (totals.count, totals.first_step, step, last, wall, totals.minimum, totals.maximum,
                                     totals.nonfinite)
        for what, mine, right in zip(FACTS, row.facts, expected, strict=True):
            if not same(mine, right) and mine != right and not (mine != mine and right != right):
                self.tell(f"a chunk's {what}", shown(mine), shown(right), tag=tag, part=part, position=row.start)


def _bits(column: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(column).view(f"u{column.dtype.itemsize}")


def _cut(runs: list[np.ndarray], piece: slice) -> list[np.ndarray]:
    """The part of runs of values that lies in a slice of them all."""
    found, at = [], 0
    for run in runs:
        low, high = max(piece.start, at), min(piece.stop, at + len(run))
        if low < high:
            found.append(run[low - at : high - at])
        at += len(run)
    return found
