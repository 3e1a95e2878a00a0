"""A series' summary, made from its points one piece at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

Last = tuple[float, int, float]


@dataclass(slots=True)
class Totals:
    """What a Series row must say.

    ``lasts`` are the points with the latest wall time (NaN is older than any), the last of
    each file: files may tie, then the one that arrived last counts, which nobody knows later.
    """

    count: int = 0
    first_step: int | None = None
    minimum: float | None = None
    maximum: float | None = None
    nonfinite: int = 0
    lasts: dict[int, Last] = field(default_factory=dict)

    def add(self, file: int, steps: np.ndarray, walls: np.ndarray, values: np.ndarray) -> None:
        """Some points of a file, in file order within their part."""
        with np.errstate(invalid="ignore"):  # a signalling NaN
            floats = values.astype("<f8")
        finite = floats[np.isfinite(floats)]
        first = int(steps.min())
        self.count += len(steps)
        self.first_step = first if self.first_step is None else min(first, self.first_step)
        self.nonfinite += len(floats) - len(finite)
        if len(finite):
            low, high = float(finite.min()), float(finite.max())
            self.minimum = low if self.minimum is None else min(low, self.minimum)
            self.maximum = high if self.maximum is None else max(high, self.maximum)
        told = np.flatnonzero(~np.isnan(walls))
        at = int(told[len(told) - 1 - walls[told][::-1].argmax()]) if len(told) else len(walls) - 1
        found = float(walls[at]), int(steps[at]), float(floats[at])
        known = self.lasts.get(file)
        if known is None or age(found[0]) >= age(known[0]):
            self.lasts[file] = found

    def newest(self) -> list[Last]:
        """The points that may be the last one: one, or those of files that tie."""
        latest = max(age(last[0]) for last in self.lasts.values())
        return [last for last in self.lasts.values() if age(last[0]) == latest]


def age(wall: float) -> tuple[bool, float]:
    """To compare wall times: NaN is older than all."""
    return (False, 0.0) if math.isnan(wall) else (True, wall)


def of(steps: np.ndarray, walls: np.ndarray, values: np.ndarray) -> Totals:
    """The totals of some points of one file."""
    totals = Totals()
    totals.add(0, steps, walls, values)
    return totals
