"""Records learned once by a full parse, known again by their constant bytes.

A training loop writes the same records over and over; only wall time, step, values and the
payload's CRC change.  A Template is one such record with those bytes named as free.  Which
fields a message has depends on its constant bytes alone, so a record that equals a template
in all of them needs no parse.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from runs.readers import wire
from runs.readers.tensor import Number

#: Behind the header: key of the wall time, wall time, key of the step, step.
WALL, STEP_KEY, STEP = 13, 21, 22
#: Templates kept, about three a tag, and their bytes; beyond it all are forgotten.
MOST, MOST_BYTES = 300_000, 64 * 1024 * 1024
#: Longer records are not learned, longer periods not tried.
RECORD_BYTES, PERIOD_BYTES = 64 * 1024, 1024 * 1024
#: Bytes of a float32 and a CRC, which end a scalar's record; the shortest such record.
TAIL, SHORTEST = 8, 36
#: Records remembered to find a period in.
HISTORY = 4096
#: Periods tried at a time: a tag may come many times in one.
TRIES = 64


@dataclass(frozen=True, slots=True)
class Template:
    """``values`` are (tag's number, position in the record, dtype); ``step_size`` 0: no step."""

    sample: bytes
    step_size: int
    values: tuple[tuple[int, int, str], ...]

    def mask(self) -> np.ndarray:
        """Bits that every such record has in common with the sample: uint8."""
        mask = np.full(len(self.sample), 255, np.uint8)
        mask[WALL : WALL + 8] = 0
        mask[STEP : STEP + self.step_size] = 128
        for _, at, dtype in self.values:
            mask[at : at + np.dtype(dtype).itemsize] = 0
        mask[-4:] = 0
        return mask

    def fixed(self) -> tuple[tuple[int, int], ...]:
        """The constant stretches behind the step."""
        at = STEP + self.step_size if self.step_size else STEP_KEY
        stretches = []
        for _, start, dtype in self.values:
            stretches.append((at, start))
            at = start + np.dtype(dtype).itemsize
        stretches.append((at, len(self.sample) - 4))
        return tuple((start, stop) for start, stop in stretches if start < stop)


#: Where to look: the first constant stretch, the others, and a template's number by them.
Spot = tuple[int, int, tuple[tuple[int, int], ...], dict[bytes, int]]


@dataclass(slots=True)
class Learned:
    """The templates of one file.

    ``sizes`` is header -> record size, ``spots`` record size -> where to look.  ``tails``
    numbers what stands between the step and a float32 that ends its record, which is how
    scalars look; ``by_tail`` is (that number, step size) -> template.
    """

    plugins: dict[str, str]
    tags: int = 0
    learns: bool = True
    templates: list[Template] = field(default_factory=list)
    held: int = 0
    forgotten: int = 0
    sizes: dict[bytes, int] = field(default_factory=dict)
    spots: dict[int, list[Spot]] = field(default_factory=dict)
    tails: dict[bytes, int] = field(default_factory=dict)
    by_tail: np.ndarray = field(default_factory=lambda: np.full((64, 11), -1))
    history: list[int] = field(default_factory=list)
    composites: dict[tuple[int, ...], object] = field(default_factory=dict)

    def fits(self, plugins: dict[str, str], tags: int) -> bool:
        """Whether it was learned under these plugins and tags, and is not too large."""
        return self.learns and self.tags == tags and self.plugins == plugins and not self._full()

    def _full(self) -> bool:
        return len(self.templates) >= MOST or self.held >= MOST_BYTES

    def learn(
        self, event: wire.Event, record: bytes, tags: Sequence[int],
        numbers: Sequence[Number | None],
    ) -> int:
        """Learn a record whose values are all numbers; its template's number, or -1."""
        if not self.learns or self._full() or not _plain(event, record):
            return -1
        values = []
        for tag, number in zip(tags, numbers, strict=True):
            if number is None or number.at < 0:
                return -1
            values.append((tag, number.at + 12, number.dtype))
        template = Template(record, event.step_size, tuple(values))
        return self._add(template, record)

    def _add(self, template: Template, record: bytes) -> int:
        (first, *others) = template.fixed()
        spots = self.spots.setdefault(len(record), [])
        numbers = next((spot[3] for spot in spots if spot[:3] == (*first, tuple(others))), None)
        if numbers is None:
            numbers = {}
            spots.append((*first, tuple(others), numbers))
        number = len(self.templates)
        self.templates.append(template)
        self.held += len(record)
        numbers[b"".join([record[start:stop] for start, stop in (first, *others)])] = number
        if not others and first[1] == len(record) - TAIL and template.step_size <= 8:
            tail = self.tails.setdefault(record[first[0] : first[1]], len(self.tails))
            if tail + 1 >= len(self.by_tail):
                self.by_tail = np.concatenate([self.by_tail, np.full_like(self.by_tail, -1)])
            self.by_tail[tail, template.step_size] = number
        return number

    def frames(self, data: bytes, at: int, count: int, starts: list[int]) -> int:
        """Append starts of records with a known header, up to ``count``; where they end."""
        get = self.sizes.get
        for _ in range(count - len(starts)):
            size = get(data[at : at + 12])
            if size is None:
                break
            starts.append(at)
            at += size
        return at if at <= len(data) else starts.pop()

    def look_up(
        self, data: bytes, array: np.ndarray, starts: np.ndarray, ends: np.ndarray
    ) -> np.ndarray:
        """The templates of records that are scalars' by their tails, -1 for all others."""
        numbers = np.full(len(starts), -1)
        places = np.flatnonzero(ends - starts >= SHORTEST)
        if not self.tails or not len(places):
            return numbers
        starts, ends = starts[places], ends[places]
        steps = np.ndarray((len(array) - 7,), "<u8", array, 0, (1,))[starts + STEP]
        sizes = np.ones(len(starts), np.int64)
        high = 128
        for _ in range(7):
            longer = steps & np.uint64(high) == high
            if not longer.any():
                break
            sizes += longer
            high = high << 8 | 128
        sizes[array[starts + STEP_KEY] != 16] = 0
        lows = starts + STEP + sizes - (sizes == 0)
        get = self.tails.get
        tails = [get(data[low:high], -1)
                 for low, high in zip(lows.tolist(), (ends - TAIL).tolist(), strict=True)]
        numbers[places] = self.by_tail[tails, sizes]
        return numbers

    def find(self, data: bytes, at: int, size: int) -> int:
        """The template of the record at ``at``, or -1."""
        for low, high, more, numbers in self.spots.get(size, ()):
            key = data[at + low : at + high]
            if more:
                key = b"".join([key, *[data[at + a : at + b] for a, b in more]])
            if key in numbers:
                return numbers[key]
        return -1

    def forget(self) -> None:
        """Know no record again: what a tag's tensors mean has changed."""
        self.spots.clear()
        self.tails.clear()
        self.by_tail[:] = -1
        self.history.clear()
        self.composites.clear()
        self.forgotten += 1

    def _long(self, numbers: list[int]) -> bool:
        return sum(len(self.templates[one].sample) for one in numbers) > PERIOD_BYTES

    def period(self) -> tuple[int, ...]:
        """The templates that came twice in a row at the end of the history, or none."""
        past = self.history[::-1]
        size = 0
        for _ in range(TRIES):
            try:
                size = past.index(past[0], size + 1, len(past) // 2 + 1)
            except (ValueError, IndexError):
                return ()
            again = past[:size]
            if again == past[size : 2 * size]:
                return () if -1 in again or self._long(again) else tuple(again[::-1])
        return ()


def _plain(event: wire.Event, record: bytes) -> bool:
    """Whether wall time and step stand where every known writer puts them."""
    if len(record) > RECORD_BYTES or not event.simple or event.wall_at != 1:
        return False
    if event.what != "summary" or not event.values:
        return False
    if any(value.plugin == "hparams" or not value.form for value in event.values):
        return False
    return event.step_at == STEP - 12 and record[STEP_KEY] == 16 if event.step_size else True
