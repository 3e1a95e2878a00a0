"""Sparklines: the main metric of each run of a list as a curve of 80 by 20 pixels."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from runs.charts import Drawing, Main, drawings
from runs.figures import path_of, steps_between, values_between
from runs.models import Run, Series
from runs.thinning import thin

WIDTH, HEIGHT = 80, 20
#: Points that the sparklines of one page of runs decode at most.
POINTS = 1_000_000
#: Curves kept in memory, of about 500 bytes: drawing those of a page takes as long as all else on it.
REMEMBERED = 10_000
#: Seconds that a curve may be behind by less than a pixel, while its run moves many times a second.
BEHIND = 5.0


@dataclass(frozen=True, slots=True)
class Spark:
    """A run's main metric in a list: its tag, last value and a small curve."""

    tag: str
    last: float | None
    d: str


class Curve(NamedTuple):
    """A path, the values between which it was drawn, and what its run and series were then."""

    d: str
    low: float
    high: float
    version: int
    points: int
    at: float

    def shows(self, run: Run, main: Main, now: float) -> bool:
        """Whether it is what would be drawn now, but for part of a pixel while the run moves."""
        if (self.version, self.points) == (run.version, main.points):
            return True
        by_little = self.points <= main.points < self.points * (1 + 1 / WIDTH)
        return by_little and now - self.at < BEHIND and main.last is not None and self.low <= main.last <= self.high


_remembered: dict[int, Curve] = {}


def sparks(pairs: Sequence[tuple[Run, Main]]) -> dict[int, str]:
    """The curves of some runs, by run; of those that hardly changed, as they were drawn last."""
    now = time.monotonic()
    curves = {main.series: _remembered.get(main.series) for _, main in pairs}
    old = [(run, main) for run, main in pairs if not ((curve := curves[main.series]) and curve.shows(run, main, now))]
    drawn = drawings(list(Series.objects.filter(pk__in=[main.series for _, main in old])), POINTS) if old else {}
    if len(_remembered) > REMEMBERED:
        _remembered.clear()
    for run, main in old:
        low, high, d = spark(drawn[main.series]) if main.series in drawn else (0.0, 0.0, "")
        curves[main.series] = _remembered[main.series] = Curve(d, low, high, run.version, main.points, now)
    return {run.pk: curve.d for run, main in pairs if (curve := curves[main.series])}


def spark(drawing: Drawing) -> tuple[float, float, str]:
    """The path of a sparkline, of the last attempts only, and the values between which it lies."""
    lines = [line for line in drawing.lines if not line.old]
    if not lines:
        return 0.0, 0.0, ""
    steps = steps_between(lines)
    low, high, scale = values_between(lines)
    strokes = [stroke for line in lines for stroke in thin(line.steps, line.values * scale, *steps, WIDTH // 2)]
    return low / scale, high / scale, path_of(strokes, steps, (low, high), (WIDTH, HEIGHT))
