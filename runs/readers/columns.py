"""Columns of wall time, step and value out of many records at once.

Two ways: ``Composite`` takes whole periods of records that repeat, compared as a matrix of
bytes; ``gather`` takes known records wherever they stand.  Both check every CRC.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import google_crc32c
import numpy as np

from runs.readers import crc
from runs.readers.fold import Fold, Piece
from runs.readers.templates import STEP, STEP_KEY, WALL, Template

#: Bytes of records whose CRCs are checked in one go: what a core's cache holds, and as
#: columns of periods, which cost more a call but less a record if periods are short.
CACHED, CACHED_ROWS = 256 * 1024, 1024 * 1024
SHORT_PERIOD = 4096


class Surprise(Exception):
    """A record looked like a template and is another: read the block without templates."""


def bad_records(data: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> list[int]:
    """Which of the neighbouring records from ``starts[0]`` to ``ends[-1]`` have a wrong CRC."""
    bad: list[int] = []
    marks = np.searchsorted(ends, np.arange(starts[0] + CACHED, ends[-1], CACHED)).tolist()
    first = 0
    for stop in [*marks, len(starts)]:
        if stop <= first:
            continue
        base = starts[first]
        some = data[base : ends[stop - 1]]
        if not crc.all_good(some, starts[first:stop] - base, ends[first:stop] - base):
            bad += [at for at in range(first, stop) if not _good(data, starts[at], ends[at])]
        first = stop
    return bad


def _good(data: np.ndarray, start: int, end: int) -> bool:
    stored = int.from_bytes(data[end - 4 : end].tobytes(), "little")
    return crc.mask(google_crc32c.value(data[start + 12 : end - 4].tobytes())) == stored


def decode_steps(words: np.ndarray, size: int) -> np.ndarray:
    """int64 steps from words (uint32 or uint64, any shape) whose low ``size`` bytes, at most
    8, hold a varint; what stands above them is ignored."""
    kind = words.dtype.type
    steps = words & kind(127)
    for place in range(1, size):
        part = words >> kind(place)
        part &= kind(127 << 7 * place)
        steps |= part
    signed: np.ndarray = steps.astype(np.int64)
    return signed


def long_steps(byte: Callable[[int], np.ndarray], size: int) -> np.ndarray:
    """int64 steps of varints of 9 or 10 bytes; ``byte(n)`` is the column of the n-th."""
    steps = (byte(0) & 127).astype(np.uint64)
    for place in range(1, size):
        steps |= (byte(place) & 127).astype(np.uint64) << np.uint64(7 * place)
    return steps.view(np.int64)


class Composite:
    """A period: templates whose records follow each other again and again."""

    def __init__(self, templates: list[Template]) -> None:
        self.templates = templates
        sizes = [len(one.sample) for one in templates]
        self.size = sum(sizes)
        self.ends = np.cumsum(sizes)
        self.starts = self.ends - sizes
        self.joints = [crc.joint(one.sample[:8]) for one in templates]
        self.mask = np.concatenate([one.mask() for one in templates])
        sample = np.frombuffer(b"".join(one.sample for one in templates), np.uint8)
        self.fixed = sample & self.mask

    def repeats(self, data: np.ndarray, at: int) -> int:
        """How many whole periods stand at ``at``, one behind the other."""
        most = (len(data) - at) // self.size
        rows = data[at : at + most * self.size].reshape(most, self.size)
        found, step, largest = 0, 1, max(1, CACHED // self.size)
        work = np.empty((min(largest, max(most, 1)), self.size), np.uint8)
        while found < most:
            some = rows[found : found + step]
            differ = np.bitwise_and(some, self.mask, out=work[: len(some)])
            differ ^= self.fixed
            if differ.any():
                return found + int(differ.any(axis=1).argmax())
            found += len(some)
            step = min(4 * step, largest)
        return found

    def positions(self, at: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
        """Starts and ends of all records of ``rows`` periods from ``at`` on."""
        bases = (at + np.arange(rows) * self.size)[:, None]
        return (bases + self.starts).ravel(), (bases + self.ends).ravel()

    def bad(self, data: np.ndarray, at: int, rows: int) -> list[int]:
        """Which records of ``rows`` periods from ``at`` on have a wrong payload CRC."""
        if self.size > SHORT_PERIOD:
            return bad_records(data, *self.positions(at, rows))
        matrix = data[at : at + rows * self.size].reshape(rows, self.size)
        ends, count = self.ends.tolist(), len(self.ends)
        bad, step = [], CACHED_ROWS // self.size
        for first in range(0, rows, step):
            some = matrix[first : first + step]
            if not crc.all_good_rows(some, ends, self.joints):
                places = self.positions(at + first * self.size, len(some))
                before = first * count
                bad += [before + place for place in bad_records(data, *places)]
        return bad

    def fold(self, data: np.ndarray, at: int, rows: int, base: int, fold: Fold) -> None:
        """Hand ``rows`` good periods to the fold; ``data`` begins at ``base`` in the file."""

        def column(place: int, dtype: str) -> np.ndarray:
            return np.ndarray((rows,), dtype, data, at + place, (self.size,))

        walls = np.empty((len(self.templates), rows))
        for number, start in enumerate(self.starts.tolist()):
            walls[number] = column(start + WALL, "<f8")
        steps = self._steps(column, rows)
        for number, (start, template) in enumerate(zip(self.starts.tolist(), self.templates, strict=True)):
            first = base + at + start
            offsets = range(first, first + rows * self.size, self.size)
            for tag, place, dtype in template.values:
                values = column(start + place, dtype).copy()
                fold.piece(tag, Piece(offsets, steps[number], walls[number], values))
        count = len(self.starts)
        _clock(fold, walls.T, lambda n: base + at + n // count * self.size
               + int(self.starts[n % count]))

    def _steps(self, column: Callable[[int, str], np.ndarray], rows: int) -> np.ndarray:
        """(records of the period, rows) int64."""
        sizes = {one.step_size for one in self.templates}
        if len(sizes) == 1 and 0 < (size := sizes.pop()) <= 8:
            dtype = "<u4" if size <= 4 else "<u8"
            words = np.empty((len(self.templates), rows), dtype)
            for number, start in enumerate(self.starts.tolist()):
                words[number] = column(start + STEP, dtype)
            return decode_steps(words, size)
        steps = np.zeros((len(self.templates), rows), np.int64)
        for number, (start, one) in enumerate(zip(self.starts.tolist(), self.templates, strict=True)):
            if one.step_size > 8:
                steps[number] = long_steps(partial(_byte, column, start + STEP), one.step_size)
            elif one.step_size:
                dtype = "<u4" if one.step_size <= 4 else "<u8"
                words = column(start + STEP, dtype)
                steps[number] = decode_steps(words, one.step_size)
        return steps


def _clock(fold: Fold, walls: np.ndarray, offset: Callable[[int], int]) -> None:
    """Tell the fold the first and the last wall time, in file order, that are no NaN."""
    first, last = 0, walls.size - 1
    if np.isnan(walls.flat[first]) or np.isnan(walls.flat[last]):
        told = np.flatnonzero(~np.isnan(walls.ravel()))
        if not len(told):
            return
        first, last = int(told[0]), int(told[-1])
    for place in (first, last):
        fold.clock(int(offset(place)), float(walls.flat[place]))


def _byte(column: Callable[[int, str], np.ndarray], first: int, place: int) -> np.ndarray:
    return column(first + place, "u1")


def gather(
    data: np.ndarray, starts: np.ndarray, numbers: np.ndarray, templates: list[Template],
    base: int, fold: Fold,
) -> None:
    """Hand good known records to the fold, whatever their order.

    ``numbers`` are their templates'.  Raises Surprise where a record differs from its
    template in a byte that the look-up did not compare.
    """
    used, numbers = np.unique(numbers, return_inverse=True)
    kinds: dict[tuple[int, tuple[str, ...]], list[int]] = {}
    for place, number in enumerate(used.tolist()):
        one = templates[number]
        kinds.setdefault((one.step_size, tuple(v[2] for v in one.values)), []).append(place)
    for (step_size, dtypes), places in kinds.items():
        some = np.arange(len(numbers))
        if len(kinds) > 1:
            wanted = np.zeros(len(used), bool)
            wanted[places] = True
            some = np.flatnonzero(wanted[numbers])
        at, which = starts[some], numbers[some]
        walls, steps = _wall_and_step(data, at, step_size)
        _clock(fold, walls, (base + at).__getitem__)
        for place, dtype in enumerate(dtypes):
            table = np.zeros((2, len(used)), np.int64)
            for one in places:
                table[:, one] = templates[used[one]].values[place][:2]
            values = _words(data, dtype)[at + table[1][which]]
            _split(table[0][which], base + at, steps, walls, values, fold)


def _words(data: np.ndarray, dtype: str) -> np.ndarray:
    """A view of a word at every byte of ``data``."""
    size = np.dtype(dtype).itemsize
    return np.ndarray((len(data) - size + 1,), dtype, data, 0, (1,))


def _wall_and_step(
    data: np.ndarray, at: np.ndarray, step_size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Columns of the records at ``at``; their first bytes must be as in any template."""
    fine = data[at + 12] == 9
    if step_size:
        fine &= data[at + STEP_KEY] == 16
    if 0 < step_size <= 8:
        dtype = "<u4" if step_size <= 4 else "<u8"
        words = _words(data, dtype)[at + STEP]
        more = int.from_bytes(b"\x80" * step_size, "little")
        fine &= words & words.dtype.type(more) == more & ~(128 << 8 * (step_size - 1))
        steps = decode_steps(words, step_size)
    elif step_size:
        for place in range(step_size):
            fine &= (data[at + STEP + place] >= 128) == (place < step_size - 1)
        steps = long_steps(lambda place: data[at + STEP + place], step_size)
    else:
        steps = np.zeros(len(at), np.int64)
    if not fine.all():
        raise Surprise
    return _words(data, "<f8")[at + WALL], steps


def _split(
    tags: np.ndarray, offsets: np.ndarray, steps: np.ndarray, walls: np.ndarray,
    values: np.ndarray, fold: Fold,
) -> None:
    """A piece for each tag."""
    order = np.argsort(tags.astype(np.uint16) if tags.max() < 65536 else tags, kind="stable")
    tags, offsets = tags[order], offsets[order]
    steps, walls, values = steps[order], walls[order], values[order]
    bounds = [0, *(np.flatnonzero(np.diff(tags)) + 1).tolist(), len(tags)]
    for start, stop in pairwise(bounds):
        fold.piece(int(tags[start]), Piece(
            offsets[start:stop], steps[start:stop], walls[start:stop], values[start:stop]))
