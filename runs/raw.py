"""A file of a source as it lies on disk, for download: opened within its root, sent in small pieces."""

from __future__ import annotations

import os
import re
import unicodedata
from dataclasses import dataclass
from functools import partial
from io import FileIO

from runs import disk, identity
from runs.models import LogFile
from runs.readers.confined import opened

#: Bytes in memory for each download.
PIECE = 256 * 1024
RANGE = re.compile(r"bytes=(\d{0,19})-(\d{0,19})")


@dataclass(frozen=True, slots=True)
class Opened:
    """A file of our own, and what it was when it was opened; dropped, it is closed."""

    file: FileIO
    size: int
    etag: str


def open_file(file: LogFile) -> Opened:
    """Open a log file below its source's root; OSError or ValueError where that cannot be.

    ``file`` comes with its source: nothing here asks the database.
    """
    return open_at(file.source.root, bytes(file.path))


def open_at(root: str, path: bytes) -> Opened:
    """Open a file below a source's root, likewise."""
    with opened(root, path) as fd:
        seen = identity.of(fd)
        etag = f'"{seen.device:x}-{seen.inode:x}-{seen.size:x}-{seen.mtime_ns:x}"'
        return Opened(FileIO(os.dup(fd)), seen.size, etag)


class Pieces:
    """The bytes ``start`` to ``stop`` of a file, read as they are sent.

    An asynchronous iterator: an ASGI server would collect a plain one in memory.
    """

    def __init__(self, file: FileIO, start: int, stop: int) -> None:
        self.file, self.at, self.stop = file, start, stop

    def __aiter__(self) -> Pieces:
        return self

    async def __anext__(self) -> bytes:
        count = min(PIECE, self.stop - self.at)
        if count <= 0:
            raise StopAsyncIteration
        data = await disk.ask_async(partial(os.pread, self.file.fileno(), count, self.at))
        if not data:  # it shrank: breaking off says so, fewer bytes than promised would not
            raise OSError("the file became shorter")
        self.at += len(data)
        return data

    def close(self) -> None:
        """Called by Django at the response's end, whatever it was."""
        self.file.close()


def part(header: str, size: int) -> tuple[int, int] | None:
    """(start, stop) of a Range header with one range; the whole for any other.

    None where it lies beyond the file's end.
    """
    found = RANGE.fullmatch(header.strip())
    if found is None or found.groups() == ("", ""):
        return 0, size
    first, last = found.groups()
    if not first:
        return (max(0, size - int(last)), size) if int(last) and size else None
    start, stop = int(first), min(int(last) + 1, size) if last else size
    if last and int(last) < start:
        return 0, size
    return (start, stop) if start < size else None


def plain_name(path: str) -> str:
    """A file's name without what a header, a shell or a terminal could stumble over."""
    name = path.rsplit("/", 1)[-1]
    return "".join("_" if unicodedata.category(sign)[0] == "C" or sign in '\\/"' else sign for sign in name)[:200]
