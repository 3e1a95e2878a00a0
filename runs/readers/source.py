"""The bytes of a file that may still grow: pread on a descriptor, never mmap."""

from __future__ import annotations

import errno
import os
from typing import overload

import google_crc32c
import numpy as np

PIECE = 1024 * 1024
WINDOW_BYTES = 64 * 1024


class Shrunk(OSError):
    """The file became shorter while it was read; the caller judges it anew."""


def data_from(fd: int, at: int) -> int | None:
    """Where the next bytes lie that were written: a file of terabytes may be one hole.

    None where none follow; ``at`` itself where the file system does not know.
    """
    try:
        return os.lseek(fd, at, os.SEEK_DATA)
    except OSError as error:
        return None if error.errno == errno.ENXIO else at


class Source:
    """A file as long as it was when opened here; later growth belongs to the next block."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.size = os.fstat(fd).st_size
        self._zeros = (0, 0)

    def bytes(self, at: int, count: int) -> bytes:
        """Exactly ``count`` bytes, however many reads that takes."""
        data = os.pread(self.fd, count, at)
        if len(data) == count:
            return data
        pieces = [data]
        while (missing := count - sum(map(len, pieces))) and pieces[-1]:
            pieces.append(os.pread(self.fd, missing, at + count - missing))
        if missing:
            raise Shrunk(f"{count - missing} of {count} bytes at {at}")
        return b"".join(pieces)

    def crc(self, at: int, count: int) -> int:
        """CRC-32C of a stretch, in pieces that bound memory."""
        crc = 0
        for start in range(at, at + count, PIECE):
            crc = google_crc32c.extend(crc, self.bytes(start, min(PIECE, at + count - start)))
        return crc

    def zeros_from(self, at: int) -> bool:
        """Whether nothing but zeros follows: space that a writer has reserved, no data."""
        start, stop = self._zeros
        if start <= at < stop:
            return stop == self.size
        where: int | None = at
        while where is not None and (where := data_from(self.fd, where)) is not None and where < self.size:
            start, where = where, where + PIECE
            data = self.bytes(start, min(PIECE, self.size - start))
            if data.count(0) != len(data):
                found = int(np.flatnonzero(np.frombuffer(data, np.uint8))[0])
                self._zeros = (at, start + found)
                return False
        self._zeros = (at, self.size)
        return True


class Stretch:
    """Bytes that stay on disk: as ``bytes`` to index and to slice, read where they are asked."""

    def __init__(self, source: Source, at: int, count: int) -> None:
        self.source, self.at, self.count = source, at, count
        self.window, self.first = b"", 0

    def __len__(self) -> int:
        return self.count

    @overload
    def __getitem__(self, place: int) -> int: ...
    @overload
    def __getitem__(self, place: slice) -> bytes: ...
    def __getitem__(self, place: int | slice) -> int | bytes:
        if isinstance(place, slice):
            start, stop, _ = place.indices(self.count)
            return self.source.bytes(self.at + start, max(0, stop - start))
        if not self.first <= place < self.first + len(self.window):
            self.first = place
            self.window = self.source.bytes(
                self.at + place, min(WINDOW_BYTES, self.count - place))
        return self.window[place - self.first]
