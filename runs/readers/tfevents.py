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
from dataclasses import dataclass, field

from runs.readers import crc, hparams, resync, tensor, wire
from runs.readers.fold import Fold
from runs.readers.records import BLOCK_BYTES, Blob, Block, Damage, Part, Text, TooMuch
from runs.readers.source import Source
from runs.readers.tfstate import State

__all__ = ["MAX_TAGS", "Peek", "State", "peek", "read"]

MAX_TAGS = 100_000
TEXT_BYTES = 64 * 1024
#: Records up to this size are parsed whole, larger ones by their outline.
WHOLE_BYTES = BLOCK_BYTES
_SIZE = struct.Struct("<Q")
_CRC = struct.Struct("<I")
_KINDS = {"images": "image", "histograms": "histogram", "audio": "audio"}


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
    reading = _Reading(fd, state, plugins or {}, max_tags)
    reading.run(limit)
    reading.fold.finish()
    return reading.block


class _Reading:
    """One call of ``read``."""

    def __init__(
        self, fd: int, state: State | None, plugins: dict[str, str], max_tags: int
    ) -> None:
        self.source = Source(fd)
        self.state = state.copy() if state else State()
        self.block = Block(self.state)
        self.fold = Fold(self.state, self.block)
        self.plugins = plugins
        self.max_tags = max_tags

    def run(self, limit: int) -> None:
        state, source = self.state, self.source
        begin = state.offset
        stop = min(begin + limit, source.size)
        going = True
        while going:
            going = self.recover(stop) if state.lost_from >= 0 else self.records(begin, stop)
            going = going and state.offset < stop
        self.block.at_end = self.block.at_end or state.offset >= source.size
        self.block.bytes_read = state.offset - begin
        if state.lost_from >= 0:
            waiting = state.offset if self.block.at_end else source.size
            self.block.pending = self._lost(waiting)

    def recover(self, stop: int) -> bool:
        """Search the next record; whether it was found."""
        found = resync.search(self.source, self.state, stop)
        if found == "found":
            self.block.damages.append(self._lost(self.state.offset))
            self.state.lost_from = -1
            return True
        self.block.at_end = found == "wait"
        return False

    def _lost(self, until: int) -> Damage:
        start = self.state.lost_from
        return Damage(start, until - start, self.state.lost_kind)

    def records(self, begin: int, stop: int) -> bool:
        """Take the records that lie before ``stop``; whether there may be more there."""
        state = self.state
        base, data = state.offset, self.source.bytes(state.offset, stop - state.offset)
        while (at := state.offset - base) < len(data):
            size = self._frame(data, at)
            if size < 0:
                return state.lost_from >= 0
            if at + size > len(data):
                if state.offset == begin and begin + size <= self.source.size:
                    self._record(begin, self.source.bytes(begin, size))
                else:
                    self.block.at_end = state.offset + size > self.source.size
                return False
            if not self._record(state.offset, data[at : at + size]):
                return False
        return True

    def _frame(self, data: bytes, at: int) -> int:
        """The size of the record at ``at``, -1 where none begins; data may end in it."""
        source, offset = self.source, self.state.offset
        if offset + 12 > source.size:
            self.block.at_end = True
            return -1
        head = data[at : at + 12]
        if len(head) < 12:
            head = source.bytes(offset, 12)
        (length,) = _SIZE.unpack_from(head)
        if head == crc.header(length) and length <= resync.RECORD_BYTES:
            return int(length) + 16
        if head[11] == 0 and source.zeros_from(offset + 12):
            self.block.at_end = True
            return -1
        self.state.lost_from = offset
        self.state.lost_kind = "too large" if head == crc.header(length) else "length crc"
        self.state.offset += 1
        return -1

    def _record(self, offset: int, record: bytes) -> bool:
        """One framed record; whether to go on behind it."""
        payload, size = record[12:-4], len(record)
        if crc.masked(payload) != _CRC.unpack_from(record, size - 4)[0]:
            if resync.torn(self.source, offset + size):
                self.block.at_end = True
                return False
            self.block.damages.append(Damage(offset, size, "payload crc"))
        else:
            try:
                self._event(wire.event(payload), payload, offset, size)
            except wire.NotAnEvent as error:
                self.block.damages.append(Damage(offset, size, "not a record", str(error)))
        self.state.offset = offset + size
        return True

    def _event(self, event: wire.Event, payload: bytes, offset: int, size: int) -> None:
        """Keep what an event says.  All of it is parsed before the first word is kept."""
        numbers = [self._number(value, payload) for value in event.values]
        self._begin(offset, event.wall)
        if event.what == "session":
            if wire.session_status(payload, event.start, event.stop) == 1:
                self.fold.session(offset)
        elif event.what in ("graph", "meta graph", "run metadata"):
            named = event.what == "run metadata"
            tag = wire.first_string(payload, event.start, event.stop) if named else ""
            self.block.blobs.append(
                Blob(tag, self.state.part, event.step, event.wall, event.what, "graphs",
                     offset, size))
        for value, number in zip(event.values, numbers):
            if value.plugin == "hparams":
                self._hparams(value, offset, size)
            elif value.form:
                self._value(value, number, event, payload, offset, size)
        if event.values:
            self.fold.last_summary = offset

    def _begin(self, offset: int, wall: float) -> None:
        """Count a good record; the file's first begins part 0."""
        if not self.state.started:
            self.state.started = True
            self.block.parts.append(Part(0, "start", offset))
        self.block.records += 1
        if wall == wall:
            if self.block.first_wall is None:
                self.block.first_wall = wall
            self.block.last_wall = wall

    def _number(self, value: wire.Value, payload: bytes) -> tensor.Number | None:
        """The scalar in a value; None where it holds something else."""
        if value.plugin is not None and value.tag not in self.state.plugins:
            self.state.plugins[value.tag] = value.plugin
        if value.form == "simple":
            return tensor.Number("<f4", payload[value.start : value.stop], value.start)
        plugin = self._plugin(value.tag)
        if value.form != "tensor" or plugin not in ("", "scalars"):
            return None
        return tensor.number(
            payload, value.start, value.stop, one_element=plugin == "scalars")

    def _plugin(self, tag: str) -> str:
        return self.state.plugins.get(tag) or self.plugins.get(tag, "")

    def _tag(self, tag: str) -> int:
        """The tag's number; TooMuch where there are too many."""
        tags = self.state.tags
        if tag not in tags and len(tags) >= self.max_tags:
            raise TooMuch(f"more than {self.max_tags:,} tags in one event file (max_tags)")
        return tags.setdefault(tag, len(tags))

    def _value(
        self, value: wire.Value, number: tensor.Number | None, event: wire.Event,
        payload: bytes, offset: int, size: int,
    ) -> None:
        tag = self._tag(value.tag)
        if number:
            self.fold.row(tag, offset, event.step, event.wall, number.dtype, number.raw)
            return
        plugin = self._plugin(value.tag)
        part = self.state.part
        if value.form == "tensor" and plugin == "text":
            said = tensor.strings(payload, value.start, value.stop, TEXT_BYTES)
            if said:
                self.block.texts.append(Text(
                    value.tag, part, event.step, event.wall, said[0], offset, said[1]))
                return
        kind = value.form if value.form != "tensor" else _KINDS.get(plugin, "tensor")
        self.block.blobs.append(
            Blob(value.tag, part, event.step, event.wall, kind, plugin, offset, size))

    def _hparams(self, value: wire.Value, offset: int, size: int) -> None:
        try:
            self.block.hparams += hparams.parse(value.content)
        except wire.NotAnEvent as error:
            self.block.damages.append(
                Damage(offset, size, "not a record", f"hparams: {error}"))


@dataclass(frozen=True, slots=True)
class Peek:
    """What the first records of a file say, for the directory scan.

    ``tags`` are the first few, in order; ``plugins`` is tag -> plugin, to hand to ``read``
    for the other files of the run.  ``is_event_file``: it begins with a valid record header.
    """

    is_event_file: bool = False
    first_wall: float | None = None
    tags: list[str] = field(default_factory=list)
    plugins: dict[str, str] = field(default_factory=dict)
    has_hparams: bool = False


def peek(fd: int, max_bytes: int = 65536, max_tags: int = 16) -> Peek:
    """Look at the records that lie whole in the first ``max_bytes``; never raises for them."""
    found = Peek()
    source = Source(fd)
    data = source.bytes(0, min(max_bytes, source.size))
    at, hparams_seen, first_wall, event_file = 0, False, None, False
    while at + 12 <= len(data) and len(found.tags) < max_tags:
        (length,) = _SIZE.unpack_from(data, at)
        if data[at : at + 12] != crc.header(length):
            break
        event_file = True
        if at + 16 + length > len(data):
            break
        try:
            event = wire.event(data[at + 12 : at + 12 + length])
        except wire.NotAnEvent:
            event = wire.Event(wall=float("nan"))
        if first_wall is None and event.wall == event.wall:
            first_wall = event.wall
        for value in event.values:
            hparams_seen |= value.tag.startswith("_hparams_/") or value.plugin == "hparams"
            if value.tag not in found.tags:
                found.tags.append(value.tag)
            if value.plugin is not None:
                found.plugins.setdefault(value.tag, value.plugin)
        at += 16 + length
    return Peek(event_file, first_wall, found.tags[:max_tags], found.plugins, hparams_seen)
