"""Records learned once by a full parse, known again by their constant bytes.

A training loop writes the same records over and over; only wall time, step, values and the
payload's CRC change.  A Template is one such record with those bytes named as free.  Which
fields a message has depends on its constant bytes alone, so a record that equals a template
in all of them needs no parse.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
#: Records remembered to find a period in.
HISTORY = 4096


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
Spot = tuple[int, int, tuple[tuple[int, int], ...], Callable[[bytes], int | None]]


@dataclass(slots=True)
class Learned:
    """The templates of one file.  ``known`` is header -> (record size, spots)."""

    plugins: dict[str, str]
    tags: int = 0
    templates: list[Template] = field(default_factory=list)
    known: dict[bytes, tuple[int, list[Spot]]] = field(default_factory=dict)
    by_bytes: dict[tuple, dict[bytes, int]] = field(default_factory=dict)
    history: list[int] = field(default_factory=list)
    composites: dict[tuple[int, ...], object] = field(default_factory=dict)
    learns: bool = True
    bytes: int = 0

    def fits(self, plugins: dict[str, str], tags: int) -> bool:
        """Whether it was learned under these plugins and tags, and is not too large."""
        return self.tags == tags and self.plugins == plugins and not self._full()

    def _full(self) -> bool:
        return len(self.templates) >= MOST or self.bytes >= MOST_BYTES

    def learn(
        self, event: wire.Event, record: bytes, tags: Sequence[int],
        numbers: Sequence[Number | None],
    ) -> int:
        """Learn a record whose values are all numbers; its template's number, or -1."""
        if not self.learns or self._full() or not _plain(event, record):
            return -1
        values = []
        for tag, number in zip(tags, numbers):
            if number is None or number.at < 0:
                return -1
            values.append((tag, number.at + 12, number.dtype))
        template = Template(record, event.step_size, tuple(values))
        return self._add(template, record)

    def _add(self, template: Template, record: bytes) -> int:
        (first, *others) = template.fixed()
        spot = (len(record), *first, tuple(others))
        if spot not in self.by_bytes:
            self.by_bytes[spot] = {}
            _, spots = self.known.setdefault(record[:12], (len(record), []))
            spots.insert(0, (*spot[1:], self.by_bytes[spot].get))
        key = b"".join([record[start:stop] for start, stop in (first, *others)])
        self.templates.append(template)
        self.bytes += len(record)
        return self.by_bytes[spot].setdefault(key, len(self.templates) - 1)

    def walk(
        self, data: bytes, at: int, count: int, starts: list[int], numbers: list[int]
    ) -> int:
        """Append known records from ``at`` on, until there are ``count``; where they end."""
        get = self.known.get
        for _ in range(count - len(starts)):
            hit = get(data[at : at + 12])
            if hit is None:
                break
            size, spots = hit
            for low, high, more, find in spots:
                key = data[at + low : at + high]
                if more:
                    key = b"".join([key, *[data[at + a : at + b] for a, b in more]])
                number = find(key)
                if number is not None:
                    break
            else:
                break
            starts.append(at)
            numbers.append(number)
            at += size
        if at > len(data):
            numbers.pop()
            return starts.pop()
        return at

    def forget(self) -> None:
        """Know no record again: what a tag's tensors mean has changed."""
        self.known.clear()
        self.by_bytes.clear()
        self.history.clear()
        self.composites.clear()

    def _long(self, numbers: list[int]) -> bool:
        return sum(len(self.templates[one].sample) for one in numbers) > PERIOD_BYTES

    def period(self) -> tuple[int, ...]:
        """The templates that came twice in a row at the end of the history, or none."""
        history = self.history
        last = history[-1] if history else -1
        at = len(history) - 1
        for _ in range(64):
            try:
                at = len(history) - 1 - history[::-1].index(last, len(history) - at)
            except ValueError:
                return ()
            size = len(history) - 1 - at
            if 2 * size > len(history):
                return ()
            again = history[-size:]
            if again == history[-2 * size : -size]:
                return () if -1 in again or self._long(again) else tuple(again)
        return ()


def _plain(event: wire.Event, record: bytes) -> bool:
    """Whether wall time and step stand where every known writer puts them."""
    if len(record) > RECORD_BYTES or event.what != "summary" or not event.values or not event.simple or event.wall_at != 1:
        return False
    if any(value.plugin == "hparams" or not value.form for value in event.values):
        return False
    return event.step_at == STEP - 12 and record[STEP_KEY] == 16 if event.step_size else True
