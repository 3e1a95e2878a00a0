"""The records of an event file, walked one by one: framing, CRCs, what is damaged.

The rules are those that runs/readers/tfevents.py promises, worked out anew: a bad payload is
passed over by its length, after a bad header the next record is searched, a tail that is
half written or zero is waited for.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import google_crc32c

#: Protobuf's own bound on a message.
LONGEST = 2**31 - 1
WINDOW = 4 * 1024 * 1024
#: Payloads that a search checks: beyond so many bytes a header's own CRC is enough.
CHECKED_FREE, CHECKED_PER_BYTE = 64 * 1024 * 1024, 16
_HEADER = struct.Struct("<QI")
_ZEROS = b"\0\0\0\0"


@dataclass(frozen=True, slots=True)
class Record:
    """A payload whose CRCs are right; ``length`` counts the framing too."""

    offset: int
    length: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Lost:
    """Bytes that are no record."""

    offset: int
    length: int
    kind: str


class Walk:
    """Iterates over records and losses that begin before ``stop``; then says where it stands.

    ``size`` is how much of the file counts.  ``offset`` is a record's start or, where
    ``lost_from`` is not -1, the place from where on the next record is searched.
    """

    def __init__(self, fd: int, size: int, stop: int, offset: int = 0, lost_from: int = -1, lost_kind: str = "") -> None:
        self.file = _File(fd, size)
        self.stop, self.offset, self.lost_from, self.lost_kind = stop, offset, lost_from, lost_kind
        self.searched = 0

    def __iter__(self) -> Iterator[Record | Lost]:
        while self.offset < self.stop:
            found = self._search() if self.lost_from >= 0 else self._next()
            if found == "waits":
                return
            if found is not None:
                yield found  # type: ignore[misc]

    def _next(self) -> Record | Lost | str | None:
        """What begins here; None where a search must begin."""
        at, file = self.offset, self.file
        header = file.read(at, 12)
        if len(header) < 12:
            return "waits"
        length, crc = _HEADER.unpack(header)
        good = crc == masked(header[:8])
        if not good or length > LONGEST:
            if header[11] == 0 and at + 12 >= file.data_end:
                return "waits"
            self.lost_from, self.lost_kind, self.offset = at, "too large" if good else "length crc", at + 1
            return None
        end = at + 16 + length
        if end > file.size:
            return "waits"
        payload = file.read(at + 12, length)
        if file.read(end - 4, 4) != struct.pack("<I", masked(payload)):
            if self._torn(end):
                return "waits"
            self.offset = end
            return Lost(at, end - at, "payload crc")
        self.offset = end
        return Record(at, end - at, payload)

    def _search(self) -> Lost | str | None:
        """Move to the next record behind lost bytes."""
        file = self.file
        while self.offset < self.stop:
            found = self._candidate()
            if found is None:
                return "waits"
            self.offset = found
            if found >= self.stop:
                return "waits"
            (length,) = struct.unpack("<Q", file.read(found, 8))
            verdict = self._judge(found, length)
            if verdict == "waits":
                return verdict
            if verdict == "record":
                lost = Lost(self.lost_from, found - self.lost_from, self.lost_kind)
                self.lost_from = -1
                return lost
            self.offset = found + 1
        return "waits"

    def _judge(self, at: int, length: int) -> str:
        end = at + 16 + length
        if end > self.file.size:
            return "waits"
        if self.searched + length > CHECKED_FREE + CHECKED_PER_BYTE * at:
            return "record"
        self.searched += length
        if self.file.read(end - 4, 4) == struct.pack("<I", masked(self.file.read(at + 12, length))):
            return "record"
        return "waits" if self._torn(end) else "none"

    def _candidate(self) -> int | None:
        """The next place with a header whose CRC is right; it has four zero bytes on top."""
        at, file = self.offset, self.file
        while at + 12 <= file.size:
            data = file.read(at, WINDOW)
            place = data.find(_ZEROS, 4)
            while place >= 4 and place + 8 <= len(data):
                header = data[place - 4 : place + 8]
                length, crc = _HEADER.unpack(header)
                if length <= LONGEST and crc == masked(header[:8]):
                    return at + place - 4
                place = data.find(_ZEROS, place + 1)
            if len(data) < 12 or at + len(data) >= file.size:
                return None
            at += len(data) - 11
        return None

    def _torn(self, end: int) -> bool:
        """Half written into reserved space: its last byte and all that follow are zero."""
        return self.file.read(end - 1, 1) == b"\0" and end >= self.file.data_end


class _File:
    """The first ``size`` bytes of a file, read through a window."""

    def __init__(self, fd: int, size: int) -> None:
        self.fd, self.size = fd, size
        self.window, self.base = b"", 0
        self._data_end: int | None = None

    def read(self, at: int, count: int) -> bytes:
        """``count`` bytes, fewer only at the end."""
        count = max(0, min(count, self.size - at))
        begin = at - self.base
        if begin < 0 or begin + count > len(self.window):
            self.window, self.base, begin = self._read(at, max(count, min(WINDOW, self.size - at))), at, 0
        return self.window[begin : begin + count]

    def _read(self, at: int, count: int) -> bytes:
        data = os.pread(self.fd, count, at)
        while len(data) < count and (more := os.pread(self.fd, count - len(data), at + len(data))):
            data += more
        return data

    @property
    def data_end(self) -> int:
        """Where nothing but zeros follows."""
        if self._data_end is None:
            end = self.size
            while end > 0:
                begin = max(0, end - WINDOW)
                data = self._read(begin, end - begin).rstrip(b"\0")
                if data:
                    end = begin + len(data)
                    break
                end = begin
            self._data_end = end
        return self._data_end


def masked(data: bytes) -> int:
    """TFRecord's masked CRC-32C."""
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
