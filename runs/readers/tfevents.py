"""TensorBoard event files: TFRecord framing around Event messages.

A record is its payload's length (u64), the length's masked CRC-32C, the payload and the
payload's masked CRC-32C; every CRC is checked.  The concatenated Blocks of a file are the
same whatever the limits and resume points.

- A half-written tail waits at its record's start, and so does one that ends in zeros up to
  the end of the file (space reserved by the file system).
- A record with a bad payload is passed over by its length.  After a bad header, or a length
  beyond RECORD_BYTES, the next record is searched; what was lost becomes a Damage when it is
  found and is shown as ``Block.pending`` until then.
- Part 0 begins at the first good record.  SessionLog.START begins a part only where a
  summary came since the last one began.  Only scalars' steps begin a part, and after
  MAX_PARTS none does.
"""

from __future__ import annotations

import struct

import google_crc32c
import numpy as np

from runs.readers import crc, resync, wire
from runs.readers.columns import Composite, Surprise, bad_records, gather
from runs.readers.events import Keeper
from runs.readers.fold import Fold
from runs.readers.peek import Peek, peek
from runs.readers.records import BLOCK_BYTES, Block, Damage
from runs.readers.source import Source, Stretch
from runs.readers.templates import HISTORY, Learned
from runs.readers.tfstate import State

__all__ = ["MAX_TAGS", "Peek", "State", "peek", "read"]

MAX_TAGS = 100_000
#: Larger records stay on disk: their CRC is taken in pieces, of their fields only what is kept.
WHOLE_BYTES = 8 * 1024 * 1024
#: A stretch of records taken one by one before the next look for a period.
SHORTEST, LONGEST = 64, 65536
#: Fewer periods are not worth a matrix.
PERIODS = 16
#: Different headers remembered.
MOST_HEADERS = 100_000
_SIZE = struct.Struct("<Q")
_CRC = struct.Struct("<I")


def read(
    fd: int,
    state: State | None,
    *,
    limit: int = BLOCK_BYTES,
    plugins: dict[str, str] | None = None,
    max_tags: int = MAX_TAGS,
) -> Block:
    """The records from ``state`` on: about ``limit`` bytes of them, at least one.

    ``plugins`` is tag -> plugin as other files of the run say; this file's own word goes
    first.  ``state`` is left as it was.  Raises TooMuch beyond ``max_tags`` tags.
    """
    try:
        return _Reading(fd, state, plugins or {}, max_tags).run(limit)
    except Surprise:
        return _Reading(fd, state, plugins or {}, max_tags, learns=False).run(limit)


class _Reading:
    """One call of ``read``.  ``data`` is what lies before the limit, from ``base`` on."""

    def __init__(
        self, fd: int, state: State | None, plugins: dict[str, str], max_tags: int,
        learns: bool = True,
    ) -> None:
        self.source = Source(fd)
        self.state = state.copy() if state else State()
        self.block = Block(self.state)
        self.fold = Fold(self.state, self.block)
        learned = self.state.cache
        if not learns or not isinstance(learned, Learned) or not learned.fits(
                plugins, len(self.state.tags)):
            learned = Learned(dict(plugins), learns=learns)
        self.learned = self.state.cache = learned
        learned.tags = -1  # it fits no state until this call has come to its end
        self.keeper = Keeper(self.fold, learned, max_tags)
        self.known: list[tuple[np.ndarray, np.ndarray]] = []

    def run(self, limit: int) -> Block:
        state, source = self.state, self.source
        self.base = state.offset
        self.stop = max(self.base, min(self.base + max(limit, 1), source.size))
        self.data = source.bytes(self.base, self.stop - self.base)
        self.bytes = np.frombuffer(self.data, np.uint8)
        going = True
        while going and state.offset < self.stop and not self.block.at_end:
            going = self._recover() if state.lost_from >= 0 else self._records()
        if self.known:
            starts, numbers = map(np.concatenate, zip(*self.known, strict=True))
            gather(self.bytes, starts, numbers, self.learned.templates, self.base, self.fold)
        self.fold.finish()
        self.learned.tags = len(state.tags)
        self.block.at_end |= state.offset >= source.size
        self.block.bytes_read = state.offset - self.base
        if state.lost_from >= 0:
            self.block.pending = self._lost(state.offset)
        return self.block

    def _recover(self) -> bool:
        """Search the next record; whether it was found."""
        found = resync.search(self.source, self.state, self.stop)
        if found == "found":
            self.block.damages.append(self._lost(self.state.offset))
            self.state.lost_from = -1
            return True
        self.block.at_end = found == "wait"
        return False

    def _lost(self, until: int) -> Damage:
        start = self.state.lost_from
        return Damage(start, until - start, self.state.lost_kind)

    def _records(self) -> bool:
        """Take records up to a bad header; whether to go on behind it."""
        count = SHORTEST
        while self.state.offset < self.stop and not self.block.at_end:
            if self._periods():
                count = SHORTEST
            elif not self._stretch(count):
                return self.state.lost_from >= 0
            else:
                count = min(4 * count, LONGEST)
        return True

    def _periods(self) -> bool:
        """Take records as whole periods, if the last ones repeat; whether any was taken."""
        numbers = self.learned.period()
        if not numbers:
            return False
        composites = self.learned.composites
        one = composites.get(numbers)
        if not isinstance(one, Composite):
            if len(composites) > 64:
                composites.clear()
            one = Composite([self.learned.templates[number] for number in numbers])
            composites[numbers] = one
        at = self.state.offset - self.base
        rows = one.repeats(self.bytes, at)
        if not rows:
            return False
        bad = one.bad(self.bytes, at, rows)
        self.state.offset += rows * one.size
        if rows < PERIODS or bad:
            self._found(*one.positions(at, rows), np.tile(numbers, rows), bad)
        else:
            self.fold.good(self.base + at, rows * len(numbers))
            one.fold(self.bytes, at, rows, self.base, self.fold)
        return True

    def _stretch(self, count: int) -> bool:
        """Take up to ``count`` records one by one; false where no more can be taken."""
        data, learned = self.data, self.learned
        starts: list[int] = []
        at, going = self.state.offset - self.base, True
        while going and at < len(data) and len(starts) < count:
            at = learned.frames(data, at, count, starts)
            self.state.offset = self.base + at
            if at < len(data) and len(starts) < count:
                going = self._header(at) > 0
        if not starts:
            return going
        begins = np.array(starts, np.int64)
        ends = np.append(begins[1:], at)
        numbers = learned.look_up(data, self.bytes, begins, ends)
        at_end, self.block.at_end = self.block.at_end, False
        taken = self._unknown(begins, ends, numbers)
        if taken < len(begins):  # what was seen behind it is seen again
            self.state.offset = self.base + starts[taken]
            self.state.lost_from = -1
            begins, ends, numbers = begins[:taken], ends[:taken], numbers[:taken]
            going = True
        else:
            self.block.at_end = at_end
        if taken:
            self._found(begins, ends, numbers, bad_records(self.bytes, begins, ends))
        return going and not self.block.at_end

    def _unknown(self, starts: np.ndarray, ends: np.ndarray, numbers: np.ndarray) -> int:
        """Parse what no template knows; up to where the stretch is taken.

        ``numbers`` gets the templates that ``look_up`` could not tell, -1 stays where a record
        is kept here.  The rest of a stretch must be looked up again once templates are forgotten.
        """
        learned, data = self.learned, self.data
        forgotten, taken = learned.forgotten, len(starts)
        history = numbers.tolist()
        for place in np.flatnonzero(numbers < 0).tolist():
            start, end = int(starts[place]), int(ends[place])
            number = learned.find(data, start, end - start)
            if number >= 0:
                numbers[place] = history[place] = number
                continue
            kept = self._record(self.base + start, data[start:end], end - start)
            if kept is None:
                taken = place
                break
            history[place] = kept
            if learned.forgotten != forgotten:
                taken = place + 1
                break
        past = learned.history
        past += history[:taken]
        if len(past) > 2 * HISTORY:
            del past[:-HISTORY]
        return taken

    def _found(
        self, starts: np.ndarray, ends: np.ndarray, numbers: np.ndarray, bad: list[int]
    ) -> None:
        """Keep known records for ``gather``; ``numbers`` is -1 where one is kept already."""
        keep = numbers >= 0
        for place in (one for one in bad if keep[one]):
            offset, end = self.base + int(starts[place]), self.base + int(ends[place])
            keep[place] = False
            if resync.torn(self.source, end):
                self.state.offset, self.block.at_end = offset, True
                keep[place:] = False
                break
            self.block.damages.append(Damage(offset, end - offset, "payload crc"))
        if keep.any():
            self.known.append((starts[keep], numbers[keep]))
            self.fold.good(self.base + int(starts[keep][0]), int(keep.sum()))

    def _header(self, at: int) -> int:
        """Learn the size of the record at ``at``; 0 where none lies whole in ``data``."""
        size = self._frame(at)
        if size < 0:
            return 0
        if at + size > len(self.data):
            if at == 0 and self.base + size <= self.source.size:
                self._beyond_limit(size)
            else:
                self.block.at_end = self.base + at + size > self.source.size
            return 0
        sizes = self.learned.sizes
        if len(sizes) >= MOST_HEADERS:
            sizes.clear()
        sizes[self.data[at : at + 12]] = size
        return size

    def _frame(self, at: int) -> int:
        """The size of the record at ``at``, -1 where none begins."""
        state, source, offset = self.state, self.source, self.base + at
        if offset + 12 > source.size:
            self.block.at_end = True
            return -1
        head = self.data[at : at + 12]
        if len(head) < 12:
            head = source.bytes(offset, 12)
        (length,) = _SIZE.unpack_from(head)
        if head == crc.header(length) and length <= resync.RECORD_BYTES:
            return int(length) + 16
        if head[11] == 0 and source.zeros_from(offset + 12):
            self.block.at_end = True
            return -1
        state.lost_from, state.offset = offset, offset + 1
        state.lost_kind = "too large" if head == crc.header(length) else "length crc"
        return -1

    def _beyond_limit(self, size: int) -> None:
        """Take the one record, at ``base``, that is longer than the limit."""
        record = b"" if size > WHOLE_BYTES else self.source.bytes(self.base, size)
        if self._record(self.base, record, size) is not None:
            self.state.offset = self.base + size

    def _record(self, offset: int, record: bytes, size: int) -> int | None:
        """Take one framed record; above WHOLE_BYTES it stays on disk and ``record`` is unused.

        Returns its template's number, -1 where it has none, None where it must be waited for.
        """
        payload: wire.Payload
        if size > WHOLE_BYTES:
            payload, record = Stretch(self.source, offset + 12, size - 16), b""
            found = self.source.crc(offset + 12, size - 16)
        else:
            payload = record[12:-4]
            found = google_crc32c.value(payload)
        if crc.mask(found) != _CRC.unpack(record[-4:] or self.source.bytes(offset + size - 4, 4))[0]:
            if resync.torn(self.source, offset + size):
                self.block.at_end = True
                return None
            self.block.damages.append(Damage(offset, size, "payload crc"))
            return -1
        try:
            return self.keeper.keep(payload, offset, record)
        except wire.NotAnEvent as error:
            self.block.damages.append(Damage(offset, size, "not a record", str(error)))
            return -1
