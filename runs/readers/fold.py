"""One block's finds: points by tag, cut into parts.

Points arrive in pieces, each sorted by the offset of its record; a tag's pieces are put in
file order at the end, and the parts are found on whole columns of steps.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from runs.readers.parts import Column, Offsets, Said, find_parts
from runs.readers.records import Block, Part, Points
from runs.readers.tfstate import WINDOW, State


@dataclass(slots=True)
class Piece:
    """Points of one tag.  ``offsets`` are those of their records, ascending."""

    offsets: Offsets
    steps: np.ndarray
    walls: np.ndarray
    values: np.ndarray


#: Behind any offset.
_BEHIND = np.iinfo(np.int64).max


class Fold:
    """Collects a block's finds; ``finish`` puts them, cut into parts, in the Block."""

    def __init__(self, state: State, block: Block) -> None:
        self.state = state
        self.block = block
        self.pieces: dict[int, list[Piece]] = {}
        self.rows: dict[int, list[tuple[int, int, float, str, bytes]]] = {}
        self.sessions: list[int] = []
        self.first = self.last = self.first_good = -1

    def row(self, tag: int, offset: int, step: int, wall: float, dtype: str, raw: bytes) -> None:
        """One point, by its bits."""
        self.rows.setdefault(tag, []).append((offset, step, wall, dtype, raw))

    def piece(self, tag: int, piece: Piece) -> None:
        self.pieces.setdefault(tag, []).append(piece)

    def session(self, offset: int) -> None:
        """SessionLog.START: a part, unless nothing was said since the last one began."""
        self.sessions.append(offset)

    def good(self, offset: int, count: int = 1) -> None:
        """``count`` good records, the first of them at ``offset``."""
        self.block.records += count
        if self.first_good < 0 or offset < self.first_good:
            self.first_good = offset

    def clock(self, offset: int, wall: float) -> None:
        """A record's wall time, in any order of calls; NaN tells no time."""
        if wall != wall:
            return
        if self.first < 0 or offset < self.first:
            self.first, self.block.first_wall = offset, wall
        if offset >= self.last:
            self.last, self.block.last_wall = offset, wall

    def finish(self) -> None:
        if not self.state.started and self.first_good >= 0:
            self.state.started = True
            self.block.parts.append(Part(0, "start", self.first_good))
        for tag, rows in self.rows.items():
            self.pieces.setdefault(tag, [])[:0] = _row_pieces(rows)
        columns = {tag: self._column(tag, pieces) for tag, pieces in self.pieces.items()}
        names, first = list(self.state.tags), self.state.part
        said = Said(self._said(columns), self.state.summaries)
        parts = find_parts(columns, self.sessions, said, names, first)
        cuts = [part.offset for part in parts]
        for tag, column in columns.items():
            self._emit(names[tag], tag, column, cuts)
        self.block.parts += parts
        self.block.texts = [_in_part(one, first, cuts) for one in self.block.texts]
        self.block.blobs = [_in_part(one, first, cuts) for one in self.block.blobs]
        self.block.damages.sort(key=lambda damage: damage.offset)
        self.state.part += len(cuts)
        self.state.summaries = said.between(cuts[-1] if cuts else -1, _BEHIND)

    def _said(self, columns: dict[int, Column]) -> np.ndarray:
        """Offsets of points, texts and blobs, ascending; a few do where no session starts."""
        offsets = [one.offset for one in self.block.texts]
        offsets += [one.offset for one in self.block.blobs if one.plugin != "graphs"]
        if self.sessions:
            every = [column.all_offsets() for column in columns.values()]
        else:
            every = [np.array([one[-1] for column in columns.values() for one in column.offsets], np.int64)]
        return np.sort(np.concatenate([*every, np.array(offsets, np.int64)]))

    def _column(self, tag: int, pieces: list[Piece]) -> Column:
        pieces = _in_order(pieces)
        part, window = self.state.windows.get(tag, (-1, None))
        steps = [piece.steps for piece in pieces]
        old = 0
        if window is not None and part == self.state.part:
            steps.insert(0, window)
            old = len(window)
        walls = [piece.walls for piece in pieces]
        whole = _joined(steps)
        falls = np.flatnonzero(whole[1:] < whole[:-1]) + 1
        if len(falls):
            falls = falls[falls >= max(old, 1)]
        return Column([piece.offsets for piece in pieces], whole, _joined(walls),
                      [piece.values for piece in pieces], old, falls)

    def _emit(self, name: str, tag: int, column: Column, cuts: list[int]) -> None:
        inner: list[int] = np.searchsorted(column.all_offsets(), cuts).tolist() if cuts else []
        places = [0, *inner, len(column.walls)]
        spans = [(part, start, stop) for part, (start, stop) in enumerate(pairwise(places)) if start != stop]
        steps, first = column.steps[column.old :], self.state.part
        at = 0
        for values in _runs(column.values):
            for part, start, stop in spans:
                start, stop = max(start, at), min(stop, at + len(values))
                if start < stop:
                    self.block.points.append(Points(
                        name, first + part, steps[start:stop], column.walls[start:stop],
                        values[start - at : stop - at]))
            at += len(values)
        begin = 0 if not cuts else places[-2] + column.old
        if begin < len(column.steps):
            last = column.steps[max(begin, len(column.steps) - WINDOW) :].copy()
            self.state.windows[tag] = (first + len(cuts), last)


def _row_pieces(rows: list[tuple[int, int, float, str, bytes]]) -> list[Piece]:
    """Pieces of equal dtype from rows in file order."""
    pieces, start = [], 0
    for place in range(1, len(rows) + 1):
        if place == len(rows) or rows[place][3] != rows[start][3]:
            offsets, steps, walls, dtypes, raws = zip(*rows[start:place], strict=True)
            pieces.append(Piece(
                np.array(offsets, np.int64), np.array(steps, np.int64),
                np.array(walls, np.float64), np.frombuffer(b"".join(raws), dtypes[0])))
            start = place
    return pieces


def _in_order(pieces: list[Piece]) -> list[Piece]:
    """Pieces that do not overlap, in file order."""
    if len(pieces) == 1:
        return pieces
    pieces = sorted(pieces, key=lambda piece: piece.offsets[0])
    if all(a.offsets[-1] < b.offsets[0] for a, b in pairwise(pieces)):
        return pieces
    if len({piece.values.dtype for piece in pieces}) > 1:
        points = [
            Piece(*(column[at : at + 1] for column in
                    (np.asarray(piece.offsets), piece.steps, piece.walls, piece.values)))
            for piece in pieces for at in range(len(piece.steps))
        ]
        return sorted(points, key=lambda point: int(point.offsets[0]))
    offsets = np.concatenate([np.asarray(piece.offsets) for piece in pieces])
    order = np.argsort(offsets, kind="stable")
    return [Piece(
        offsets[order],
        np.concatenate([piece.steps for piece in pieces])[order],
        np.concatenate([piece.walls for piece in pieces])[order],
        np.concatenate([piece.values for piece in pieces])[order])]


def _joined(arrays: list[np.ndarray]) -> np.ndarray:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _runs(values: list[np.ndarray]) -> list[np.ndarray]:
    """Neighbours of equal dtype joined."""
    runs: list[list[np.ndarray]] = []
    for one in values:
        if runs and runs[-1][0].dtype == one.dtype:
            runs[-1].append(one)
        else:
            runs.append([one])
    return [_joined(run) for run in runs]


def _in_part(one: Any, first: int, cuts: list[int]) -> Any:
    """A Text or Blob with the part its offset lies in."""
    part = first + bisect.bisect_right(cuts, one.offset)
    return one if part == one.part else replace(one, part=part)
