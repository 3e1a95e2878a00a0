"""Whether a file is the one that was read before: content decides, not inode or mtime."""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass

from runs.models import LogFile

HEAD, TAIL = 256, 64
#: A file changed this recently (seconds) may change again within one tick of its mtime.
RACY = 2.0


@dataclass(frozen=True, slots=True)
class Seen:
    """What an open descriptor was when reading began."""

    device: int
    inode: int
    size: int
    mtime_ns: int

    @property
    def mtime(self) -> float:
        """Unix seconds."""
        return self.mtime_ns / 1e9

    def settled_mtime_ns(self) -> int:
        """The mtime to remember: 0, which no file has, where it may yet hide a change."""
        return 0 if time.time() - self.mtime < RACY else max(self.mtime_ns, -(2**63))


def of(fd: int) -> Seen:
    """What this descriptor is now."""
    st = os.fstat(fd)
    return Seen(st.st_dev, st.st_ino, st.st_size, st.st_mtime_ns)


def hashes(fd: int, offset: int) -> tuple[bytes, bytes]:
    """SHA-256 of the first min(256, offset) bytes and of the 64 bytes before ``offset``."""
    head = os.pread(fd, min(HEAD, offset), 0)
    tail = os.pread(fd, min(TAIL, offset), max(0, offset - TAIL))
    return hashlib.sha256(head).digest(), hashlib.sha256(tail).digest()


def continues(fd: int, seen: Seen, file: LogFile) -> bool:
    """Whether the file still begins with what was read of it: reading may go on at its offset."""
    if file.offset == 0:
        return True
    if seen.size < file.offset:
        return False
    return hashes(fd, file.offset) == (bytes(file.head_hash), bytes(file.tail_hash))
