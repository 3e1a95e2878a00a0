"""What a second reading of a file finds: the side that is right when the two differ."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from runs.reconcile.framing import Lost

#: Points, and bytes of text, that are held before they are compared: bounds memory.
HELD_POINTS, HELD_BYTES = 1_000_000, 32 * 1024 * 1024
LOST_KEPT = 100
#: Other wall times, NaN too, have no place in a calendar: no part spans them.
LAST_MOMENT = 253_402_300_799.0


@dataclass(slots=True)
class Column:
    """Points of one tag in one part, those from position ``start`` on.

    ``values`` are runs of equal type: [dtype, the values' bytes].
    """

    start: int = 0
    steps: array[int] = field(default_factory=lambda: array("q"))
    walls: array[float] = field(default_factory=lambda: array("d"))
    values: list[tuple[str, bytearray]] = field(default_factory=list)

    def add(self, step: int, wall: float, dtype: str, raw: bytes) -> None:
        """One more point."""
        self.steps.append(step)
        self.walls.append(wall)
        if not self.values or self.values[-1][0] != dtype:
            self.values.append((dtype, bytearray()))
        self.values[-1][1].extend(raw)

    def arrays(self) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
        """Steps, wall times, and the values in runs of equal type."""
        return (np.array(self.steps, "<i8"), np.array(self.walls, "<f8"),
                [np.frombuffer(bytes(raw), dtype) for dtype, raw in self.values])

    def pass_on(self) -> None:
        """Forget the points, they were compared."""
        self.start += len(self.steps)
        self.steps, self.walls, self.values = array("q"), array("d"), []


@dataclass(slots=True)
class PartFound:
    """An attempt: where and why it began, and what its scalars span."""

    number: int
    reason: str
    offset: int
    steps: tuple[int, int] | None = None
    walls: tuple[float, float] | None = None

    def span(self, step: int, wall: float) -> None:
        """Take a point in."""
        low, high = self.steps or (step, step)
        self.steps = (step if step < low else low, step if step > high else high)
        if 0 <= wall <= LAST_MOMENT:
            first, last = self.walls or (wall, wall)
            self.walls = (wall if wall < first else first, wall if wall > last else last)


@dataclass(frozen=True, slots=True)
class TextFound:
    """A text; ``texts`` are all forms that count as right (a cut text has several)."""

    tag: str
    part: int
    step: int
    wall: float
    offset: int
    texts: list[str]


@dataclass(frozen=True, slots=True)
class SampleFound:
    """An image or sound, by reference."""

    tag: str
    part: int
    step: int
    wall: float
    offset: int
    length: int
    kind: str


@dataclass(slots=True)
class Reference:
    """What a reading has found; ``full`` is told when as much is held as memory should bear."""

    full: Callable[[Reference], None] = lambda _: None
    columns: dict[tuple[str, int], Column] = field(default_factory=dict)
    parts: list[PartFound] = field(default_factory=list)
    texts: list[TextFound] = field(default_factory=list)
    samples: list[SampleFound] = field(default_factory=list)
    hparams: list[dict[str, Any]] = field(default_factory=list)
    lost: list[Lost] = field(default_factory=list)
    bad_records: int = 0
    lost_bytes: int = 0
    records: int = 0
    held: int = 0
    held_bytes: int = 0

    def point(self, tag: str, part: int, step: int, wall: float, dtype: str, raw: bytes) -> None:
        """One scalar."""
        column = self.columns.get((tag, part))
        if column is None:
            column = self.columns[tag, part] = Column()
        column.add(step, wall, dtype, raw)
        self.parts[part].span(step, wall)
        self.held += 1

    def lose(self, lost: Lost) -> None:
        """Bytes that are no record; the first hundred are kept by name."""
        self.bad_records += lost.kind != "length crc"
        self.lost_bytes += lost.length
        if len(self.lost) < LOST_KEPT:
            self.lost.append(lost)

    def pass_on_when_full(self) -> None:
        """Between two records: have what is held compared, and forget it."""
        if self.held >= HELD_POINTS or self.held_bytes >= HELD_BYTES:
            self.pass_on()

    def pass_on(self) -> None:
        """Have what is held compared now."""
        self.full(self)
        for column in self.columns.values():
            column.pass_on()
        self.texts, self.samples = [], []
        self.held = self.held_bytes = 0
