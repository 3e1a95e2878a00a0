"""Where the parts of a file begin: at a session's start, or where a tag's steps fall back.

Found on whole columns of steps.  A block whose steps only jitter is settled column by column;
only where a part begins are the falls of all tags gone through in the order of the file.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass

import numpy as np

from runs.readers.records import Part
from runs.readers.tfstate import WINDOW

#: A file whose steps run backwards would be cut at each record: further on nothing is cut.
MAX_PARTS = 1_000
Offsets = range | np.ndarray
_NOTHING = np.iinfo(np.int64).max


@dataclass(slots=True)
class Column:
    """All points of one tag in the block, in file order.

    ``values`` are runs of equal dtype, ``offsets`` pieces of those of the points' records.
    ``steps`` begins with the ``old`` steps that the state remembers of this part; ``falls``
    are the places in it of steps below the one before.
    """

    offsets: list[Offsets]
    steps: np.ndarray
    walls: np.ndarray
    values: list[np.ndarray]
    old: int
    falls: np.ndarray

    def all_offsets(self) -> np.ndarray:
        return np.concatenate([np.asarray(one) for one in self.offsets])

    def place(self, offset: int) -> int:
        """The place in ``steps`` of the first point at or behind ``offset``."""
        return self.old + sum(bisect.bisect_left(one, offset) for one in self.offsets)

    def falls_back(self) -> bool:
        """Whether a step falls below the smallest of up to 64 before it."""
        for start in range(0, len(self.falls), 1024):
            some = self.falls[start : start + 1024]
            first = max(0, int(some[0]) - WINDOW)
            padded = np.concatenate([np.full(WINDOW, _NOTHING), self.steps[first : int(some[-1])]])
            views = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)
            if (self.steps[some] < views[some - first].min(axis=1)).any():
                return True
        return False


@dataclass(frozen=True, slots=True)
class Said:
    """Offsets of a block's summaries; ``before``: earlier blocks of the part had some."""

    offsets: np.ndarray
    before: bool

    def between(self, start: int, stop: int) -> bool:
        """Whether a summary stands from ``start`` (-1: the part's beginning) up to ``stop``."""
        if start < 0 and self.before:
            return True
        low, high = np.searchsorted(self.offsets, [start, stop])
        return bool(low < high)


def find_parts(
    columns: dict[int, Column], sessions: list[int], said: Said, names: list[str], part: int
) -> list[Part]:
    """The parts that begin in a block which itself begins in ``part``."""
    falling = {tag: column for tag, column in columns.items() if len(column.falls)}
    if not sessions and not any(column.falls_back() for column in falling.values()):
        return []
    reasons = [(offset, -1, 0) for offset in sessions]
    for tag, column in falling.items():
        offsets = column.all_offsets()[column.falls - column.old]
        reasons += [(offset, tag, place)
                    for offset, place in zip(offsets.tolist(), column.falls.tolist(), strict=True)]
    found: list[Part] = []
    since: dict[int, tuple[int, int]] = {}
    for offset, tag, place in sorted(reasons):
        number, cut = part + len(found) + 1, found[-1].offset if found else -1
        if number >= MAX_PARTS:
            break
        if tag < 0:
            if said.between(cut, offset):
                found.append(Part(number, "session", offset))
            continue
        column = columns[tag]
        if found and since.get(tag, (-1, 0))[0] != cut:
            since[tag] = (cut, column.place(cut))
        first = since[tag][1] if found else 0
        if place <= first:
            continue
        lowest, step = int(column.steps[max(first, place - WINDOW) : place].min()), int(column.steps[place])
        if step < lowest:
            found.append(Part(number, "steps went back", offset, names[tag], step, lowest))
    return found
